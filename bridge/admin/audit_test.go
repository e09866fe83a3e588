package admin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"imctl/bridge/admin"
	"imctl/bridge/audit"
	"imctl/kv"
)

// recorder is an admin.Audit that keeps the events.
type recorder struct {
	mu      sync.Mutex
	events  []audit.Event
	flushed int // events that a flush has stored
	err     error
}

func (r *recorder) Add(e audit.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) Flush(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flushed = len(r.events)
	return r.err
}

// TestActionsAreAudited: each action that changes something, or shows what is private, is stored before its answer,
// with its subject and without secrets. A refused action and a list are not recorded. A trail that cannot be written
// refuses nothing.
func TestActionsAreAudited(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ctx := t.Context()
	trail := &recorder{err: errors.New("disk is full")}
	client := f.serve(t, func(o *admin.Options) { o.Audit = trail })
	const secret = "a long secret"
	ann, err := client.CreateUser(ctx, admin.CreateUser{Account: "ann", Password: secret})
	check(t, err)
	bob, err := client.CreateUser(ctx, admin.CreateUser{Account: "bob", Password: secret})
	check(t, err)
	_, err = client.CreateUser(ctx, admin.CreateUser{Account: "bob", Password: secret})
	wantCode(t, err, admin.AlreadyExists)
	_, err = client.SetPassword(ctx, "ann", secret)
	check(t, err)
	_, err = client.SetPassword(ctx, "nobody", secret)
	wantCode(t, err, admin.NotFound)
	_, err = client.AddFriend(ctx, "ann", "bob")
	check(t, err)
	a, err := client.AddAttachment(ctx, admin.AddAttachment{Name: "gateway", Role: kv.RoleBridge})
	check(t, err)
	_, err = client.ListUsers(ctx, admin.ListUsers{})
	check(t, err)
	for _, err := range client.Export(ctx, "ann") {
		check(t, err)
	}
	_, err = client.DeleteUser(ctx, "ann")
	check(t, err)

	trail.mu.Lock()
	defer trail.mu.Unlock()
	want := []string{
		"admin.user.create user " + ann.ID, "admin.user.create user " + bob.ID, "admin.user.passwd user " + ann.ID,
		"admin.friend.add user " + ann.ID + " friend " + bob.ID, "admin.attach.add attachment gateway bridge",
		"admin.user.export user " + ann.ID, "admin.user.delete user " + ann.ID,
	}
	var got []string
	for _, e := range trail.events {
		got = append(got, strings.TrimSpace(fmt.Sprint(e.Event, " ", e.Subject.Kind, " ", e.Subject.ID, " ", e.Detail)))
		if e.Actor.Kind != audit.Administrator || e.Actor.ID == "" || e.Actor.ID == "unknown" {
			t.Errorf("the actor is %+v", e.Actor)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if all := fmt.Sprint(trail.events); strings.Contains(all, secret) || strings.Contains(all, a.Context.Password) {
		t.Errorf("a secret in %s", all)
	}
	if trail.flushed != len(trail.events) {
		t.Errorf("%d of %d events were stored before the answer", trail.flushed, len(trail.events))
	}
}
