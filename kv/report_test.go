package kv

import (
	"errors"
	"fmt"
	"testing"
)

func TestReports(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	ann, bob, cid := NewID(), NewID(), NewID()
	add := func(by, user, text string) Report {
		t.Helper()
		r, dropped, err := s.Reports.Add(ctx, Report{By: by, User: user, Text: text, Dialogue: "hello"})
		if err != nil || dropped != "" || r.By != by || r.User != user || r.Text != text || r.Time.IsZero() {
			t.Fatalf("Add = %+v, %q, %v", r, dropped, err)
		}
		if got, err := s.Reports.Get(ctx, r.ID); err != nil || got != r {
			t.Fatalf("Get = %+v, %v; want %+v", got, err, r)
		}
		return r
	}
	want := func(what string, want ...Report) {
		t.Helper()
		var all []Report
		for after, done := uint64(0), false; !done; done = after == 0 {
			var page []Report
			var err error
			if page, after, err = s.Reports.List(ctx, after, 1); err != nil {
				t.Fatal(err)
			}
			all = append(all, page...)
		}
		if fmt.Sprint(all) != fmt.Sprint(want) {
			t.Errorf("%s: the reports are %+v, want %+v", what, all, want)
		}
	}
	want("at first")
	first := add(ann, bob, "first")
	other := add(cid, bob, "other")
	second := add(ann, bob, "second")
	want("after another report of the same pair", other, second)
	if _, err := s.Reports.Get(ctx, first.ID); !errors.Is(err, ErrReportNotFound) {
		t.Errorf("Get of a replaced report: %v", err)
	}
	for _, id := range []string{"", "*", ">", first.ID} {
		if err := s.Reports.Remove(ctx, id); !errors.Is(err, ErrReportNotFound) {
			t.Errorf("Remove(%q): %v, want %v", id, err, ErrReportNotFound)
		}
	}
	if err := s.Reports.Remove(ctx, other.ID); err != nil {
		t.Fatal(err)
	}
	want("after Remove", second)
	if f, err := s.Sweep(ctx, false); err != nil || f != (Findings{Reports: 1}) {
		t.Errorf("Sweep = %+v, %v; want a report of users that do not exist", f, err)
	}
	want("after Sweep")
	for range MaxReportsByUser {
		add(ann, NewID(), "")
	}
	if _, _, err := s.Reports.Add(ctx, Report{By: ann, User: bob}); !errors.Is(err, ErrTooManyReports) {
		t.Errorf("Add at the limit: %v, want %v", err, ErrTooManyReports)
	}
	last := add(bob, cid, "")
	if err := s.Reports.RemoveUser(ctx, ann); err != nil {
		t.Fatal(err)
	}
	want("after the removal of a user", last)
	if err := s.Reports.RemoveUser(ctx, cid); err != nil {
		t.Fatal(err)
	}
	want("after the removal of the reported user")
}

func TestReportsDropTheOldest(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	var writes []write
	for i := range MaxReports {
		writes = append(writes, putAt(reportKey(NewID(), NewID(), fmt.Sprintf("%024x", i)), []byte("{}"), 0))
		if len(writes) == bulkBatch || i == MaxReports-1 {
			if _, err := s.Users.b.write(ctx, writes...); err != nil {
				t.Fatal(err)
			}
			writes = nil
		}
	}
	r, dropped, err := s.Reports.Add(ctx, Report{By: NewID(), User: NewID()})
	if err != nil || dropped != fmt.Sprintf("%024x", 0) {
		t.Errorf("Add at the limit drops %q, %v; want the oldest", dropped, err)
	}
	if _, err := s.Reports.Get(ctx, r.ID); err != nil {
		t.Errorf("Get of the new report: %v", err)
	}
}
