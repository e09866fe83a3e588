package im

import (
	"context"

	"imctl/kv"
)

// Report stores a report about a user, for administrators. It replaces the caller's earlier report about that user.
// dialogue is evidence; "" for none.
//
// Errors: kv.ErrUserNotFound, kv.ErrSelf, kv.ErrTooManyReports, kv.ErrReadOnly.
func (f *Friends) Report(ctx context.Context, me kv.User, user, text, dialogue string) error {
	if _, err := f.Store.Users.Get(ctx, user); err != nil {
		return err
	}
	report, dropped, err := f.Store.Reports.Add(ctx, kv.Report{By: me.ID, User: user, Text: text, Dialogue: dialogue})
	if err != nil {
		return err
	}
	if dropped != "" {
		f.Logger.Warn("too many reports are pending: the oldest is dropped", "report", dropped, "limit", kv.MaxReports)
	}
	f.Logger.Info("a user is reported", "report", report.ID, "user", user, "by", me.ID)
	f.Log.Report(report)
	return nil
}
