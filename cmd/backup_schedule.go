package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/kv"
)

const (
	// backupPoll is how often a server reads whether another one has made a backup.
	backupPoll = time.Minute
	// A server that makes a backup extends its claim. After a crash another server waits for the end of the claim.
	backupClaim  = 2 * time.Minute
	backupExtend = 30 * time.Second
	// backupGrace is how much longer a server waits that did not make the last backup, so that usually one server makes
	// all of them.
	backupGrace = 10 * time.Minute
	// backupRetry is the first pause after a failure. It doubles up to backupRetryMax.
	backupRetry    = time.Minute
	backupRetryMax = time.Hour
)

// scheduler makes the backups of the setting backup.dir.
type scheduler struct {
	config  atomic.Pointer[Config]
	connect func(name string, opts ...nats.Option) (*nats.Conn, error)
	states  *kv.States
	log     *slog.Logger
	// holder is the name of this process in a claim, and maker that of this server in a backup, which survives a restart.
	holder, maker string
	alone         bool          // no other server has these records
	changed       chan struct{} // receives a value when config has changed
	// retry lets the next backup not wait for the end of the pause after a failure. It is set at the start, and by a
	// reload with other settings.
	retry atomic.Bool

	last     atomic.Pointer[kv.Backup] // the last successful backup of any server; nil if there is none
	failures prometheus.Counter
}

// startBackups starts the scheduler.
func (a *App) startBackups() error {
	host, err := os.Hostname()
	if err != nil {
		host = "" // startBridge has logged it
	}
	s := &scheduler{connect: a.backend.connect, states: a.backend.store.States, log: a.log, changed: make(chan struct{}, 1),
		maker: host + ":" + a.backend.dir.Path(), alone: a.config.NATS.Embedded() && !a.config.clustered(),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_backup_failures_total", Help: "Scheduled backups of this server that failed."})}
	if s.holder = s.maker; !s.alone { // servers may have the same name by mistake
		s.holder += "#" + kv.NewID()[:16]
	}
	s.config.Store(a.config)
	s.retry.Store(true)
	a.registry.MustRegister(s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.run(ctx) }()
	a.backups = s
	a.stops.add("backups", func(context.Context) error { cancel(); <-done; return nil })
	return nil
}

// set puts settings into effect. A backup in progress is completed with the old ones.
func (s *scheduler) set(c *Config) {
	if before := s.config.Swap(c); !reflect.DeepEqual(before.Backup, c.Backup) {
		s.retry.Store(true)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *scheduler) run(ctx context.Context) {
	for {
		wait := time.NewTimer(s.step(ctx))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-s.changed:
			wait.Stop()
		case <-wait.C:
		}
	}
}

// step makes a backup if one is due, and returns how long to wait for the next step.
func (s *scheduler) step(ctx context.Context) time.Duration {
	c := s.config.Load()
	if c.Backup.Dir == "" {
		return time.Hour
	}
	r, err := s.states.Backups(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("cannot read when the last backup was made; trying again", "err", err)
		}
		return backupPoll
	}
	s.last.Store(r.Last)
	if wait := time.Until(s.due(r, c)); wait > 0 {
		return min(wait, backupPoll)
	}
	claimed, err := s.states.ClaimBackup(ctx, s.holder, time.Now().Add(backupClaim), func(r kv.BackupRecord) bool { return time.Until(s.due(r, c)) <= 0 })
	switch {
	case errors.Is(err, kv.ErrBackupClaimed) || err == nil && !claimed:
	case err != nil && ctx.Err() == nil:
		s.log.Warn("cannot claim the next backup; trying again", "err", err)
	case err == nil:
		s.backUp(ctx, c)
		return 0 // the record tells when the next one is due
	}
	return backupPoll
}

// due returns when this server should make the next backup.
func (s *scheduler) due(r kv.BackupRecord, c *Config) time.Time {
	now := time.Now()
	var due time.Time
	if r.Last != nil {
		mine := s.alone || r.Last.Maker == s.maker
		due = r.Last.Time.Add(c.Backup.Every)
		if !mine {
			due = due.Add(min(c.Backup.Every/10, backupGrace))
		} else if _, err := os.Stat(filepath.Join(c.Backup.Dir, filepath.Base(r.Last.File))); errors.Is(err, fs.ErrNotExist) {
			due = time.Time{} // another directory, or the file was removed
		}
		if r.Last.Time.After(now.Add(time.Hour)) {
			due = time.Time{} // the clock was wrong
		}
	}
	if f := r.Failed; f != nil && !s.retry.Load() && f.Maker == s.maker && f.Time.Before(now.Add(time.Hour)) {
		pause := backupRetryMax
		if f.Count < 10 {
			pause = min(backupRetry<<(f.Count-1), backupRetryMax)
		}
		if retry := f.Time.Add(min(pause, c.Backup.Every)); retry.After(due) {
			due = retry
		}
	}
	return due
}

// backUp makes a backup and notes its outcome. This server has claimed it.
func (s *scheduler) backUp(ctx context.Context, c *Config) {
	s.retry.Store(false)
	start := time.Now()
	b := backup{progress: new(progressLine), config: c, step: func(string) {}, pace: newBackupPace()}
	made, err := s.make(ctx, c, &b)
	note, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout/2)
	defer cancel()
	if made.file == "" {
		if ctx.Err() != nil { // the next start makes it
			if err := s.states.ReleaseBackup(note, s.holder); err != nil {
				s.log.Warn("cannot note that a backup was interrupted", "err", err)
			}
			return
		}
		s.failures.Inc()
		s.log.Error("the backup failed; trying again later", "dir", c.Backup.Dir, "err", err)
		if err := s.states.BackupFailed(note, s.holder, s.maker, time.Now().UTC(), oneLine(err)); err != nil {
			s.log.Warn("cannot note the failure of a backup", "err", err)
		}
		return
	}
	if err != nil {
		s.log.Error("the backup is complete, but not its work in the directory", "file", made.file, "err", err)
	}
	done := kv.Backup{Time: made.time, Maker: s.maker, File: made.file, Bytes: made.bytes}
	s.last.Store(&done)
	attrs := []any{"file", made.file, "bytes", made.bytes, "took", time.Since(start).Round(time.Millisecond)}
	if b.report.Accounts != nil {
		attrs = append(attrs, "accounts", *b.report.Accounts)
	}
	s.log.Info("backup made", attrs...)
	if b.report.Accounts != nil && *b.report.Accounts == 0 {
		s.log.Warn("the backup is empty: there are no accounts", "file", made.file)
	}
	if err := s.states.BackupDone(note, s.holder, done); err != nil {
		s.log.Warn("cannot note that a backup was made", "err", err)
	}
}

// make makes a backup, and extends the claim meanwhile. It ends if the claim is lost.
func (s *scheduler) make(ctx context.Context, c *Config, b *backup) (made madeBackup, err error) {
	to, err := parseRecipients(c.Backup.Recipients)
	if err != nil {
		return made, err
	}
	if b.nc, err = s.connect("imctl backup"); err != nil {
		return made, err
	}
	defer b.nc.Close()
	if !c.NATS.Embedded() { // a reload may have set backup.dir, and without this NATS does not tell what is missing
		if err := checkPermissions(ctx, b.nc, c.NATS, true); err != nil {
			return made, err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	extended := make(chan struct{})
	go func() { defer close(extended); s.extend(ctx, cancel) }()
	defer func() { cancel(nil); <-extended }()
	d := backupDir{path: c.Backup.Dir, prefix: c.NATS.Prefix, keep: c.Backup.Keep, to: to}
	made, err = d.make(ctx, b)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return made, err
}

// extend extends the claim of this server until ctx ends. It cancels ctx if another server has taken the claim.
func (s *scheduler) extend(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(backupExtend)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.states.ExtendBackup(ctx, s.holder, time.Now().Add(backupClaim))
		switch {
		case errors.Is(err, kv.ErrBackupClaimed):
			cancel(fmt.Errorf("this server was cut off: %w", err))
			return
		case err != nil && ctx.Err() == nil:
			s.log.Debug("cannot extend the claim of the backup", "err", err)
		}
	}
}

var (
	backupTimeDesc = prometheus.NewDesc("imctl_backup_last_success_timestamp_seconds",
		"Unix time at which the last successful scheduled backup began, of all servers, 0 for none. Only with backup.dir.", nil, nil)
	backupSizeDesc = prometheus.NewDesc("imctl_backup_last_size_bytes",
		"Size of the last successful scheduled backup, of all servers. Only with backup.dir.", nil, nil)
	backupEveryDesc = prometheus.NewDesc("imctl_backup_interval_seconds",
		"Time between scheduled backups, as backup.every says. Only with backup.dir.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *scheduler) Describe(out chan<- *prometheus.Desc) {
	out <- backupTimeDesc
	out <- backupSizeDesc
	out <- backupEveryDesc
	s.failures.Describe(out)
}

// Collect implements prometheus.Collector. Without backup.dir there are no metrics.
func (s *scheduler) Collect(out chan<- prometheus.Metric) {
	c := s.config.Load().Backup
	if c.Dir == "" {
		return
	}
	out <- prometheus.MustNewConstMetric(backupEveryDesc, prometheus.GaugeValue, c.Every.Seconds())
	var at, size float64
	if b := s.last.Load(); b != nil {
		at, size = float64(b.Time.Unix()), float64(b.Bytes)
	}
	out <- prometheus.MustNewConstMetric(backupTimeDesc, prometheus.GaugeValue, at)
	out <- prometheus.MustNewConstMetric(backupSizeDesc, prometheus.GaugeValue, size)
	s.failures.Collect(out)
}
