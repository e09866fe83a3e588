package talk

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// sampleEvery is the interval at which the stream is looked at.
	sampleEvery = time.Minute
	// warnEvery is the interval of warnings about the same level.
	warnEvery = 24 * time.Hour
)

// Fill is how much of its limits the stream of conversations uses.
type Fill struct {
	Messages, Bytes uint64
	MaxBytes        int64         // -1: no limit
	Keep            time.Duration // a message that is older is dropped; 0: never
	Oldest          time.Time     // of the oldest message; zero if there is none
	first, last     uint64        // sequences
}

// FillOf returns the fill of a stream.
func FillOf(i *jetstream.StreamInfo) Fill {
	f := Fill{Messages: i.State.Msgs, Bytes: i.State.Bytes, MaxBytes: i.Config.MaxBytes, Keep: i.Config.MaxAge, first: i.State.FirstSeq, last: i.State.LastSeq}
	if f.Messages > 0 {
		f.Oldest = i.State.FirstTime
	}
	return f
}

// Percent returns the used part of MaxBytes, 0 without a limit.
func (f Fill) Percent() int {
	if f.MaxBytes <= 0 {
		return 0
	}
	return int(math.Ceil(float64(f.Bytes) / float64(f.MaxBytes) * 100))
}

// levels are the percentages of MaxBytes that are warned about, and full is the one from which on the stream may drop
// messages: a message that does not fit makes it drop as many as it needs.
var levels = [...]int{95, 80}

const full = 95

// level returns the highest level that the stream has reached, 0 for none.
func (f Fill) level() int {
	for _, l := range levels {
		if f.Percent() >= l {
			return l
		}
	}
	return 0
}

// Dropping reports whether the stream drops messages that are younger than Keep, since it has reached MaxBytes.
func (f Fill) Dropping(now time.Time) bool {
	return f.Percent() >= full && f.first > 1 && f.Messages > 0 && (f.Keep == 0 || now.Sub(f.Oldest) < f.Keep-sampleEvery)
}

// RetentionOptions configure a Retention.
type RetentionOptions struct {
	JetStream jetstream.JetStream
	Stream    string
	Registry  prometheus.Registerer
	Log       *slog.Logger
}

// Retention warns before the stream of conversations drops dialogues that are not old enough, and counts them.
type Retention struct {
	opts    RetentionOptions
	dropped prometheus.Counter

	mu     sync.Mutex
	now    Fill
	warned int // the level of the last warning; full+1: the stream drops messages
	when   time.Time
}

// NewRetention registers the metrics. Run updates them.
func NewRetention(o RetentionOptions) *Retention {
	r := &Retention{opts: o, dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_conversations_dropped_total",
		Help: "Records of dialogues that were dropped before dialogues.keep, since dialogues.max_bytes was reached. Each node counts them all."})}
	gauge := func(name, help string, value func(Fill) float64) {
		o.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(r.fill()) }))
	}
	o.Registry.MustRegister(r.dropped)
	gauge("imctl_conversations_records", "Records of dialogues that are kept. A record has one or more dialogues.", func(f Fill) float64 { return float64(f.Messages) })
	gauge("imctl_conversations_bytes", "Size of all conversations.", func(f Fill) float64 { return float64(f.Bytes) })
	gauge("imctl_conversations_max_bytes", "Size from which on the oldest dialogues are dropped, -1 for none.", func(f Fill) float64 { return float64(f.MaxBytes) })
	gauge("imctl_conversations_oldest_seconds", "Age of the oldest dialogue that is kept, 0 if there is none.", func(f Fill) float64 {
		if f.Oldest.IsZero() {
			return 0
		}
		return time.Since(f.Oldest).Seconds()
	})
	return r
}

func (r *Retention) fill() Fill {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// Run looks at the stream once a minute until ctx ends.
func (r *Retention) Run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		if err := r.sample(ctx); err != nil && ctx.Err() == nil {
			r.opts.Log.Debug("read the size of the conversations", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *Retention) sample(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sampleEvery)
	defer cancel()
	s, err := r.opts.JetStream.Stream(ctx, r.opts.Stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound): // a restore is replacing it
		return nil
	case err != nil:
		return err
	}
	r.observe(time.Now(), FillOf(s.CachedInfo()))
	return nil
}

// observe counts what was dropped since the last call, and warns if a level is reached for the first time, or still is a
// day later.
func (r *Retention) observe(now time.Time, f Fill) {
	r.mu.Lock()
	before := r.now
	r.now = f
	dropping := before.first > 0 && f.first > before.first && f.Dropping(now)
	if n := before.Messages + f.last - before.last; dropping && f.last >= before.last && n > f.Messages {
		r.dropped.Add(float64(n - f.Messages))
	}
	level := f.level()
	if level == full && f.Dropping(now) {
		level++
	}
	warn := level > r.warned || level > 0 && now.Sub(r.when) >= warnEvery
	if warn {
		r.when = now
	}
	if warn || level == 0 {
		r.warned = level
	}
	r.mu.Unlock()
	if !warn {
		return
	}
	attrs := []any{"bytes", f.Bytes, "max_bytes", f.MaxBytes, "percent", f.Percent(), "oldest", f.Oldest.UTC().Format(time.RFC3339)}
	if level > full {
		r.opts.Log.Warn("the oldest dialogues are dropped before dialogues.keep: raise dialogues.max_bytes, or lower dialogues.keep", attrs...)
		return
	}
	r.opts.Log.Warn("the conversations are close to dialogues.max_bytes, from which on the oldest dialogues are dropped", attrs...)
}
