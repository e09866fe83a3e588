package admin_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"imctl/bridge/admin"
	"imctl/bridge/cluster"
	"imctl/kv"
)

// fakeLive has the given sessions, and records in ended which were ended.
type fakeLive struct {
	sessions []cluster.Session
	ended    *[]string
}

func (l fakeLive) Sessions(_ context.Context, f cluster.ListSessions) (found []cluster.Session, _ error) {
	for _, i := range l.sessions {
		c := i.Since.Compare(f.After.Since)
		if (f.Node == "" || f.Node == i.Node) && (f.After.ID == "" || c > 0 || c == 0 && i.ID > f.After.ID) && (f.Limit == 0 || len(found) < f.Limit) {
			found = append(found, i)
		}
	}
	return found, nil
}

func (l fakeLive) EndSessions(_ context.Context, id, _ string, sessions ...string) error {
	*l.ended = append([]string{id}, sessions...)
	return nil
}

func (l fakeLive) Nodes(context.Context) ([]cluster.NodeStatus, error) {
	return []cluster.NodeStatus{{Sessions: len(l.sessions), State: "ok"}}, nil
}

func (l fakeLive) FollowLog(_ context.Context, filter string) (string, string, error) {
	if filter == "bad" {
		return "", "", fmt.Errorf("%w: the reason", kv.ErrAttachmentInvalid)
	}
	return "IM_LOG", "c", nil
}

// TestSessionPages lists sessions with equal start times page by page, and closes some.
func TestSessionPages(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	alice, err := f.store.Users.Create(t.Context(), kv.User{Account: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	live := fakeLive{ended: new([]string)}
	var want []string
	for i := range 23 {
		id := fmt.Sprintf("%02d", i)
		want = append(want, id)
		live.sessions = append(live.sessions, cluster.Session{ID: id, User: alice.ID, Node: fmt.Sprint("n", i%2), Since: began.Add(time.Duration(i / 5))})
	}
	client := f.serve(t, func(o *admin.Options) { o.Live = live })
	var got []string
	pages := 0
	for page, err := range client.Sessions(t.Context(), admin.ListSessions{Limit: 4}) {
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, s := range page {
			got = append(got, s.ID)
			if s.Account != "alice" {
				t.Errorf("session has account %q, want alice", s.Account)
			}
		}
	}
	if !slices.Equal(got, want) || pages != 6 {
		t.Errorf("got %d pages with %v, want 6 with %v", pages, got, want)
	}
	for page, err := range client.Sessions(t.Context(), admin.ListSessions{User: "alice", Node: "n1"}) {
		if err != nil || len(page) != 11 {
			t.Errorf("sessions on a node: got %d, %v; want 11", len(page), err)
		}
	}
	for _, r := range []admin.ListSessions{{User: "nobody"}, {After: "x"}, {After: "1.x.y"}, {Limit: -1}} {
		for _, err := range client.Sessions(t.Context(), r) {
			if err == nil {
				t.Errorf("%+v: got a page, want an error", r)
			}
		}
	}
	closed, err := client.CloseSessions(t.Context(), "ALICE", "03", "07")
	if err != nil || len(closed.Sessions) != 2 || !slices.Equal(*live.ended, []string{alice.ID, "03", "07"}) {
		t.Errorf("closed %+v, %v; EndSessions got %v", closed, err, *live.ended)
	}
	_, err = client.CloseSessions(t.Context(), "alice", "03", "99")
	wantCode(t, err, admin.NotFound)
	if closed, err = client.CloseSessions(t.Context(), "alice"); err != nil || len(closed.Sessions) != 23 || !slices.Equal(*live.ended, []string{alice.ID}) {
		t.Errorf("closed %d, %v; EndSessions got %v", len(closed.Sessions), err, *live.ended)
	}
	_, err = client.FollowLog(t.Context(), "bad")
	wantCode(t, err, admin.Invalid)
	if err.Error() != "the reason" {
		t.Errorf("error %q, want only the reason", err)
	}
}

// TestNoServer checks the requests that need a running server.
func TestNoServer(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	client := f.serve(t)
	for _, err := range client.Sessions(t.Context(), admin.ListSessions{}) {
		wantCode(t, err, admin.Unavailable)
	}
	_, err := client.CloseSessions(t.Context(), "alice")
	wantCode(t, err, admin.Unavailable)
	_, err = client.FollowLog(t.Context(), "")
	wantCode(t, err, admin.Unavailable)
	if s, err := client.Status(t.Context()); err != nil || s.Nodes == nil || len(s.Nodes) != 0 {
		t.Errorf("status %+v, %v; want an empty list of nodes", s, err)
	}
}
