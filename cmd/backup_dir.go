package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	agefile "filippo.io/age" // the package has a function age
	"github.com/gofrs/flock"

	"imctl/embedded/privatefile"
)

const (
	// backupTime is the time in the name of a backup in a directory, in UTC.
	backupTime = "20060102T150405Z"

	maxBackups     = 10000
	maxBackupEvery = 366 * day
)

// errBackupDirBusy means that another process makes a backup in the same directory.
var errBackupDirBusy = errors.New("another process makes a backup in this directory")

// backupDir is a directory with the backups of one installation: imctl-<prefix>-<time>.tar, and .tar.age if they are
// encrypted. It may have other files, which are never removed.
type backupDir struct {
	path   string
	prefix string // nats.prefix
	keep   int
	to     []agefile.Recipient // none: not encrypted
}

// madeBackup is a new backup.
type madeBackup struct {
	file  string // path; "" if there is none
	time  time.Time
	bytes int64
}

func (d *backupDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *backupDir) stem() string { return "imctl-" + d.prefix + "-" }

// make makes a backup, and removes the oldest ones. The file gets its name after it was written, synced to disk and
// verified. If only the removal fails, the result is the backup, and the error.
func (d *backupDir) make(ctx context.Context, b *backup) (made madeBackup, err error) {
	if err := os.Mkdir(d.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return made, err
	}
	lock := flock.New(d.file("."+d.stem()+"lock"), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err == nil && !locked {
		err = errBackupDirBusy
	}
	if err != nil {
		return made, fmt.Errorf("lock %s: %w", d.path, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := d.removeRemains(); err != nil {
		return made, err
	}
	file, name, at, err := d.create()
	if err != nil {
		return made, err
	}
	defer file.Discard()
	if err := b.writeFile(ctx, file, d.to); err != nil {
		return made, err
	}
	info, err := file.Stat()
	if err != nil {
		return made, err
	}
	if err := file.Commit(); err != nil {
		return made, err
	}
	file.Discard() // before syncDir, since it may remove a second name
	if err := syncDir(d.path); err != nil {
		return made, err
	}
	b.step("named")
	made = madeBackup{name, at, info.Size()}
	if err := d.prune(at); err != nil {
		return made, fmt.Errorf("remove old backups: %w", err)
	}
	return made, nil
}

// create creates the file of a new backup, under a name that is free.
func (d *backupDir) create() (file *privatefile.File, name string, at time.Time, err error) {
	ending := ".tar"
	if len(d.to) > 0 {
		ending += ".age"
	}
	for at = time.Now().UTC().Truncate(time.Second); ; at = at.Add(time.Second) {
		name = d.file(d.stem() + at.Format(backupTime) + ending)
		file, err = privatefile.Create(name, false)
		if !errors.Is(err, fs.ErrExist) {
			return file, name, at, err
		}
	}
}

// writeFile writes a backup to a file, syncs it to disk and verifies it. To verify an encrypted file, it encrypts it to
// a temporary key as well.
func (b *backup) writeFile(ctx context.Context, file *privatefile.File, to []agefile.Recipient) error {
	var identity agefile.Identity
	if len(to) > 0 {
		recipient, key, err := temporaryKey(to)
		if err != nil {
			return err
		}
		identity, to = key, append(slices.Clone(to), recipient)
	}
	var out io.Writer = file
	if b.pace != nil {
		out = &syncedWriter{file: file}
	}
	sealed, err := sealWriter(out, to)
	if err != nil {
		return err
	}
	if err := errors.Join(b.write(ctx, sealed), sealed.Close()); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	b.step("written")
	dropCache(file.File)
	b.progress.update("verifying the backup")
	written, err := openSealed(file.Name(), identity)
	if err != nil {
		return err
	}
	_, got, err := verifyBackup(ctx, written, b.pace)
	err = errors.Join(err, written.Close())
	if err == nil && !slices.Equal(got.Streams, b.report.Streams) {
		err = fmt.Errorf("%w: it does not have what was written", errBackup)
	}
	if err != nil {
		return fmt.Errorf("verify the backup: %w", err)
	}
	b.step("verified")
	return nil
}

// foundBackup is a backup in a directory.
type foundBackup struct {
	name string // "" for none
	time time.Time
}

// list returns the backups of the installation, the newest first. It leaves out files that only have such a name.
func (d *backupDir) list() ([]foundBackup, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []foundBackup
	for _, e := range entries {
		at, ok := d.timeOf(e.Name())
		if !ok || !e.Type().IsRegular() || !d.isOurs(e.Name()) {
			continue
		}
		all = append(all, foundBackup{e.Name(), at})
	}
	slices.SortFunc(all, func(a, b foundBackup) int { return b.time.Compare(a.time) })
	return all, nil
}

// timeOf returns the time in the name of a backup.
func (d *backupDir) timeOf(name string) (time.Time, bool) {
	text, ok := strings.CutPrefix(strings.TrimSuffix(name, ".age"), d.stem())
	text, isTar := strings.CutSuffix(text, ".tar")
	at, err := time.Parse(backupTime, text)
	return at, ok && isTar && err == nil
}

// isOurs reports whether the beginning of a file is that of a backup of the installation. The beginning of an encrypted
// one tells only that it is encrypted.
func (d *backupDir) isOurs(name string) bool {
	f, err := os.Open(d.file(name))
	if err != nil {
		return false
	}
	defer f.Close()
	sealed, err := isSealed(f)
	if err != nil || sealed || strings.HasSuffix(name, ".age") {
		return err == nil && sealed && strings.HasSuffix(name, ".age")
	}
	b, err := newBackupReader(f)
	if err != nil {
		return false
	}
	entry, data, err := b.next()
	var m manifest
	return err == nil && entry == manifestEntry && json.Unmarshal(data, &m) == nil && m.Prefix == d.prefix
}

// newest returns the newest backup.
func (d *backupDir) newest() (foundBackup, error) {
	all, err := d.list()
	if err != nil || len(all) == 0 {
		return foundBackup{}, err
	}
	return all[0], nil
}

// prune removes the oldest backups. made is the time of the newest: backups with a later time were made before it, when
// the clock was wrong, and go first.
func (d *backupDir) prune(made time.Time) error {
	all, err := d.list()
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b foundBackup) int {
		switch aLater, bLater := a.time.After(made), b.time.After(made); {
		case aLater == bLater:
			return 0
		case aLater:
			return 1
		}
		return -1
	})
	var failed []error
	for _, b := range all[min(d.keep, len(all)):] {
		failed = append(failed, os.Remove(d.file(b.name)))
	}
	return errors.Join(failed...)
}

// removeRemains removes the temporary files of killed processes. The caller has locked the directory.
func (d *backupDir) removeRemains() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	var failed []error
	for _, e := range entries {
		// See privatefile.Create.
		name, ok := strings.CutPrefix(e.Name(), ".")
		last := strings.LastIndexByte(name, '-')
		if !ok || last < 0 || !e.Type().IsRegular() {
			continue
		}
		if _, isBackup := d.timeOf(name[:last]); isBackup {
			failed = append(failed, os.Remove(d.file(e.Name())))
		}
	}
	return errors.Join(failed...)
}
