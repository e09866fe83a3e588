package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"imctl/kv/keymutex"
)

const (
	// MaxReports is how many reports may be pending. One more drops the oldest.
	MaxReports = 10_000
	// MaxReportsByUser is how many reports of one user may be pending.
	MaxReportsByUser = 20
)

// Report is what one user reported of another one, for administrators.
type Report struct {
	ID       string    `json:"id"` // sorts by time
	By       string    `json:"by"` // id of the user who reports
	User     string    `json:"user"`
	Time     time.Time `json:"time"`
	Text     string    `json:"text"`
	Dialogue string    `json:"dialogue"` // evidence, as the user who reports has it; "" for none
}

// Reports stores the pending reports, in the bucket of users: at most one for each pair of users. The key has the ids
// of both users and of the report.
type Reports struct {
	b     *bucket
	locks keymutex.Mutex // by the user who reports
}

const reportPrefix = "report."

func reportKey(by, user, id string) string { return reportPrefix + by + "." + user + "." + id }

var reportID = regexp.MustCompile(`^[0-9a-f]{24}$`)

// newReportID returns an id that sorts after those of earlier milliseconds.
func newReportID(at time.Time) string { return fmt.Sprintf("%012x", at.UnixMilli()) + NewID()[:12] }

// Add stores a report, which replaces an earlier one of the same pair of users, and returns it with its id and time.
// dropped is the id of the oldest report if there were too many, else "".
//
// Errors: ErrSelf, ErrUserNotFound for invalid ids, ErrTooManyReports if the user has reported too many others.
func (r *Reports) Add(ctx context.Context, report Report) (added Report, dropped string, err error) {
	failed := func(err error) (Report, string, error) { return Report{}, "", fmt.Errorf("kv: add a report: %w", err) }
	switch {
	case !ValidID(report.By) || !ValidID(report.User):
		return failed(ErrUserNotFound)
	case report.By == report.User:
		return failed(ErrSelf)
	}
	unlock, err := r.locks.Lock(ctx, report.By)
	if err != nil {
		return failed(err)
	}
	defer unlock()
	others := 0
	for e, err := range r.b.list(ctx, reportKey(report.By, "*", "*")) {
		if err != nil {
			return failed(err)
		}
		if _, user := reportUsers(e.key); user != report.User {
			others++
		}
	}
	if others >= MaxReportsByUser {
		return failed(ErrTooManyReports)
	}
	at := time.Now()
	report.ID, report.Time = newReportID(at), at.UTC().Truncate(time.Second)
	value, err := json.Marshal(report)
	if err != nil {
		return failed(err)
	}
	revision, err := r.b.write(ctx, putAt(reportKey(report.By, report.User, report.ID), value, 0))
	if err != nil {
		return failed(err)
	}
	if err := r.b.purge(ctx, reportKey(report.By, report.User, "*"), revision); err != nil {
		return failed(err)
	}
	if dropped, err = r.dropOldest(ctx); err != nil {
		return failed(err)
	}
	return report, dropped, nil
}

// dropOldest removes the oldest report if there are too many, and returns its id, else "".
func (r *Reports) dropOldest(ctx context.Context) (string, error) {
	p, err := r.b.nextPage(ctx, reportKey("*", "*", "*"), 0, 1)
	if err != nil || len(p.entries)+p.pending <= MaxReports {
		return "", err
	}
	key := p.entries[0].key
	return key[strings.LastIndexByte(key, '.')+1:], r.b.purge(ctx, key, 0)
}

// List returns up to limit reports, oldest first, that were written after the cursor after, and the cursor for the next
// part. The first part has the cursor 0. The cursor of the last part is 0.
//
// Errors: only those of NATS and ctx.
func (r *Reports) List(ctx context.Context, after uint64, limit int) ([]Report, uint64, error) {
	p, err := r.b.nextPage(ctx, reportKey("*", "*", "*"), after, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("kv: list reports: %w", err)
	}
	all := make([]Report, 0, len(p.entries))
	for _, e := range p.entries {
		after = e.revision
		if e.deleted {
			continue
		}
		report, err := decodeReport(e)
		if err != nil {
			return nil, 0, fmt.Errorf("kv: list reports: %w", err)
		}
		all = append(all, report)
	}
	if p.pending == 0 {
		after = 0
	}
	return all, after, nil
}

// Get returns the report with this id. Errors: ErrReportNotFound.
func (r *Reports) Get(ctx context.Context, id string) (Report, error) {
	e, err := r.find(ctx, id)
	var report Report
	if err == nil {
		report, err = decodeReport(e)
	}
	if err != nil {
		return Report{}, fmt.Errorf("kv: get a report: %w", err)
	}
	return report, nil
}

// Remove removes the report with this id. Errors: ErrReportNotFound.
func (r *Reports) Remove(ctx context.Context, id string) error {
	e, err := r.find(ctx, id)
	if err == nil {
		err = r.b.purge(ctx, e.key, 0)
	}
	if err != nil {
		return fmt.Errorf("kv: remove a report: %w", err)
	}
	return nil
}

// RemoveUser removes the reports of a user and about it.
//
// Errors: only those of NATS and ctx.
func (r *Reports) RemoveUser(ctx context.Context, id string) error {
	if !ValidID(id) {
		return nil
	}
	if err := errors.Join(r.b.purge(ctx, reportKey(id, "*", "*"), 0), r.b.purge(ctx, reportKey("*", id, "*"), 0)); err != nil {
		return fmt.Errorf("kv: remove a user's reports: %w", err)
	}
	return nil
}

func (r *Reports) find(ctx context.Context, id string) (entry, error) {
	if !reportID.MatchString(id) {
		return entry{}, ErrReportNotFound
	}
	for e, err := range r.b.list(ctx, reportKey("*", "*", id)) {
		return e, err
	}
	return entry{}, ErrReportNotFound
}

// reportUsers returns the ids of the two users in the key of a report.
func reportUsers(key string) (by, user string) {
	by, rest, _ := strings.Cut(strings.TrimPrefix(key, reportPrefix), ".")
	user, _, _ = strings.Cut(rest, ".")
	return by, user
}

func decodeReport(e entry) (Report, error) {
	var r Report
	if err := json.Unmarshal(e.value, &r); err != nil {
		return Report{}, damaged(e)
	}
	return r, nil
}
