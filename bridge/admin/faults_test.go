package admin_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"imctl/bridge/admin"
	"imctl/kv"
)

// fakeAccounts does what a test wants when a user is deleted.
type fakeAccounts struct {
	admin.AccountService
	remove func(context.Context) error
}

func (a fakeAccounts) Delete(ctx context.Context, _ string) error { return a.remove(ctx) }

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		remove func(context.Context) error
		logged string
	}{
		"error":   {func(context.Context) error { return errors.New("disk on fire") }, "disk on fire"},
		"panic":   {func(context.Context) error { panic("on fire") }, "on fire"},
		"timeout": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "deadline"},
		"busy":    {func(context.Context) error { return kv.ErrBusy }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setUp(t)
			client := f.serve(t, func(o *admin.Options) {
				o.Accounts = fakeAccounts{o.Accounts, test.remove}
				o.Timeout = 500 * time.Millisecond
			})
			if _, err := f.store.Users.Create(t.Context(), kv.User{Account: "alice"}); err != nil {
				t.Fatal(err)
			}
			_, err := client.DeleteUser(t.Context(), "alice")
			wantCode(t, err, admin.Failed)
			if strings.Contains(err.Error(), "fire") {
				t.Errorf("the client is told the cause: %v", err)
			}
			if out := f.log.String(); !strings.Contains(out, test.logged) || (out == "") != (test.logged == "") {
				t.Errorf("logged: %s", out)
			}
			if err := client.Ping(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// TestStop waits for a request that is under way, and calls it off when the time is up.
func TestStop(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if _, err := f.store.Users.Create(t.Context(), kv.User{Account: "alice"}); err != nil {
		t.Fatal(err)
	}
	entered, calledOff := make(chan struct{}), make(chan struct{})
	accounts := fakeAccounts{remove: func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		close(calledOff)
		return ctx.Err()
	}}
	service, err := admin.Serve(f.connect(t), admin.Options{Prefix: prefix, Accounts: accounts, Store: f.store, Timeout: time.Hour, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	client := admin.NewClient(f.connect(t), prefix)
	go func() {
		_, err := client.DeleteUser(context.Background(), "alice")
		answered <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- service.Stop(ctx) }()
	select {
	case <-stopped:
		t.Fatal("stopped while a request was under way")
	case <-calledOff:
		t.Fatal("called off before its time")
	default:
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	<-calledOff
	wantCode(t, <-answered, admin.Failed)
	if err := admin.NewClient(f.connect(t), prefix).Ping(t.Context()); !errors.Is(err, admin.ErrNoService) {
		t.Errorf("after the stop: %v", err)
	}
}
