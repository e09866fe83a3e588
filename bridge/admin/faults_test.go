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

// fakeAccounts calls remove to delete a user.
type fakeAccounts struct {
	admin.AccountService
	remove func(context.Context) error
}

func (a fakeAccounts) Delete(ctx context.Context, _ string) error { return a.remove(ctx) }

func TestInternalErrors(t *testing.T) {
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
				t.Errorf("the error for the client has the cause: %v", err)
			}
			if out := f.log.String(); !strings.Contains(out, test.logged) || (out == "") != (test.logged == "") {
				t.Errorf("the log is %q, want %q in it", out, test.logged)
			}
			if err := client.Ping(t.Context()); err != nil {
				t.Errorf("Ping after the error: %v", err)
			}
		})
	}
}

// TestStop checks that Stop waits for a request in progress, and cancels it when its context ends.
func TestStop(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if _, err := f.store.Users.Create(t.Context(), kv.User{Account: "alice"}); err != nil {
		t.Fatal(err)
	}
	entered, canceled := make(chan struct{}), make(chan struct{})
	accounts := fakeAccounts{remove: func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		close(canceled)
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
		t.Fatal("Stop returned while a request was in progress")
	case <-canceled:
		t.Fatal("Stop canceled the request before its context ended")
	default:
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	<-canceled
	wantCode(t, <-answered, admin.Failed)
	if err := admin.NewClient(f.connect(t), prefix).Ping(t.Context()); !errors.Is(err, admin.ErrNoService) {
		t.Errorf("Ping after Stop: got %v, want ErrNoService", err)
	}
}
