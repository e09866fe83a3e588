package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// BackupRecord is what the servers of one prefix know about their scheduled backups. It is one record, so that one of
// them makes a backup and the others see its outcome.
type BackupRecord struct {
	// Holder is the server that makes a backup now, "" for none. It holds the claim until Until.
	Holder string    `json:"holder,omitempty"`
	Until  time.Time `json:"until,omitzero"`
	// Last is the last successful backup, nil if there is none.
	Last *Backup `json:"last,omitempty"`
	// Failed is the last failure since then, nil if there is none.
	Failed *BackupFailure `json:"failed,omitempty"`
}

// Backup is a successful backup.
type Backup struct {
	Time  time.Time `json:"time"`  // when it began
	Maker string    `json:"maker"` // the server that made it
	File  string    `json:"file"`  // path on the machine of that server
	Bytes int64     `json:"bytes"`
}

// BackupFailure is a failed backup.
type BackupFailure struct {
	Time  time.Time `json:"time"`
	Maker string    `json:"maker"`
	Error string    `json:"error"`
	Count int       `json:"count"` // failures in succession
}

// ErrBackupClaimed means that another server makes a backup now, or that the claim of this server has ended.
var ErrBackupClaimed = errors.New("another server makes a backup")

const backupKey = backupPrefix + "scheduled"

// Backups returns the record of the scheduled backups, which is zero before the first one.
//
// Errors: only those of NATS and ctx.
func (s *States) Backups(ctx context.Context) (BackupRecord, error) {
	r, _, err := s.readBackups(ctx)
	if err != nil {
		return r, fmt.Errorf("kv: read the record of backups: %w", err)
	}
	return r, nil
}

func (s *States) readBackups(ctx context.Context) (r BackupRecord, revision uint64, err error) {
	e, err := s.b.getLeader(ctx, backupKey)
	if errors.Is(err, errKeyNotFound) {
		return r, 0, nil
	}
	if err != nil {
		return r, 0, err
	}
	if json.Unmarshal(e.value, &r) != nil {
		return r, 0, damaged(e)
	}
	return r, e.revision, nil
}

// ClaimBackup claims the next backup for a server until a time. due decides by the record, as it
// is now, whether a backup is due. claimed is false if it is not due.
//
// Errors: ErrBackupClaimed while another server holds the claim, ErrConflict.
func (s *States) ClaimBackup(ctx context.Context, holder string, until time.Time, due func(BackupRecord) bool) (claimed bool, err error) {
	err = s.updateBackups(ctx, func(r *BackupRecord) error {
		claimed = false
		switch {
		case r.Holder != "" && r.Holder != holder && time.Now().Before(r.Until):
			return ErrBackupClaimed
		case !due(*r):
			return nil
		}
		claimed = true
		r.Holder, r.Until = holder, until
		return nil
	})
	return claimed, err
}

// ExtendBackup extends the claim of a server until a time.
//
// Errors: ErrBackupClaimed if the server does not hold the claim any more, ErrConflict.
func (s *States) ExtendBackup(ctx context.Context, holder string, until time.Time) error {
	return s.updateBackups(ctx, func(r *BackupRecord) error {
		if r.Holder != holder {
			return ErrBackupClaimed
		}
		r.Until = until
		return nil
	})
}

// BackupDone notes a successful backup, and ends the claim of holder.
//
// Errors: ErrConflict.
func (s *States) BackupDone(ctx context.Context, holder string, b Backup) error {
	return s.updateBackups(ctx, func(r *BackupRecord) error {
		r.release(holder)
		r.Last, r.Failed = &b, nil
		return nil
	})
}

// BackupFailed notes a failed backup, and ends the claim of holder.
//
// Errors: ErrConflict.
func (s *States) BackupFailed(ctx context.Context, holder, maker string, at time.Time, reason string) error {
	return s.updateBackups(ctx, func(r *BackupRecord) error {
		count := 1
		if r.Failed != nil {
			count += r.Failed.Count
		}
		r.release(holder)
		r.Failed = &BackupFailure{Time: at, Maker: maker, Error: reason, Count: count}
		return nil
	})
}

// ReleaseBackup ends the claim of holder, which was interrupted.
//
// Errors: ErrConflict.
func (s *States) ReleaseBackup(ctx context.Context, holder string) error {
	return s.updateBackups(ctx, func(r *BackupRecord) error { r.release(holder); return nil })
}

func (r *BackupRecord) release(holder string) {
	if r.Holder == holder {
		r.Holder, r.Until = "", time.Time{}
	}
}

// updateBackups changes the record. It is also written while the disk is nearly full: the record is small, and replaces
// the one before.
func (s *States) updateBackups(ctx context.Context, change func(*BackupRecord) error) error {
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		r, revision, err := s.readBackups(ctx)
		if err != nil {
			return err
		}
		before, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if err := change(&r); err != nil {
			return err
		}
		record, err := json.Marshal(r)
		if err != nil || string(record) == string(before) {
			return err
		}
		_, err = s.b.write(ctx, putAt(backupKey, record, revision))
		return err
	})
	if err != nil {
		return fmt.Errorf("kv: update the record of backups: %w", err)
	}
	return nil
}
