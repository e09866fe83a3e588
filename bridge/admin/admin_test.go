package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"imctl/bridge"
	"imctl/bridge/admin"
	"imctl/bridge/cluster"
	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/embedded"
	"imctl/kv"
)

const prefix = "im"

// fixture is a NATS server with the buckets.
type fixture struct {
	server *embedded.Server
	nc     *nats.Conn
	store  *kv.Store
	log    *natstest.Log
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{log: new(natstest.Log)}
	dir, err := embedded.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, dir.Close()) })
	if f.server, err = embedded.Start(t.Context(), embedded.Options{Dir: dir, Sync: time.Minute, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, f.server.Shutdown(context.Background())) })
	f.nc = f.connect(t)
	if f.store, err = kv.Open(t.Context(), f.nc, kv.Options{Prefix: prefix}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := f.server.Connect(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// serve starts the service with the accounts of a bridge, and returns a client.
func (f *fixture) serve(t *testing.T, change ...func(*admin.Options)) *admin.Client {
	t.Helper()
	log := slog.New(slog.NewTextHandler(f.log, nil))
	hasher := kv.NewHasher(kv.HasherOptions{MemoryKiB: 64, Passes: 1, MaxLength: 20})
	services, stop, err := bridge.NewLocalServices(f.nc, bridge.ServicesOptions{Prefix: prefix, Store: f.store, Hasher: hasher, EventLog: noLog{}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, stop()) })
	o := admin.Options{Prefix: prefix, Accounts: services.Accounts, Friends: services.Friends, Attachments: services.Attachments, Store: f.store, Log: log}
	for _, c := range change {
		c(&o)
	}
	service, err := admin.Serve(f.connect(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, service.Stop(context.Background())) })
	return admin.NewClient(f.connect(t), prefix)
}

// wantCode fails the test unless err is a failure of the service with this code.
func wantCode(t *testing.T, err error, code admin.Code) {
	t.Helper()
	var answer *admin.Error
	if !errors.As(err, &answer) || answer.Code != code || answer.Message == "" {
		t.Errorf("got %v, want code %s", err, code)
	}
}

func TestAccountLifecycle(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ctx := t.Context()
	client := f.serve(t, func(o *admin.Options) {
		o.Live = fakeLive{sessions: make([]cluster.Session, 3)}
	})
	alice, err := client.CreateUser(ctx, admin.CreateUser{
		Account: " Alice ", Password: "secret", Mail: "alice@example.org", Sex: "female", Birthday: "1990-01-01", Sign: "two\nlines",
	})
	if err != nil {
		t.Fatal(err)
	}
	if alice.Account != "Alice" || alice.Name != "Alice" || !kv.ValidID(alice.ID) || alice.Disabled || time.Since(alice.Created).Abs() > time.Hour {
		t.Errorf("created %+v", alice)
	}
	bob, err := client.CreateUser(ctx, admin.CreateUser{Account: "bob", Password: "secret", Name: "Robert"})
	if err != nil || bob.Name != "Robert" || bob.Mail != "" {
		t.Fatalf("created %+v, %v", bob, err)
	}
	_, err = client.CreateUser(ctx, admin.CreateUser{Account: "ALICE", Password: "other"})
	wantCode(t, err, admin.AlreadyExists)

	if _, err := f.store.Rosters.Befriend(ctx, alice.ID, bob.ID); err != nil {
		t.Fatal(err)
	}
	token, err := f.store.Tokens.Issue(ctx, alice.ID, "session", kv.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.User(ctx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if got.Sessions == nil || *got.Sessions != 3 {
		t.Errorf("sessions: got %v, want 3", got.Sessions)
	}
	got.Sessions = nil
	want := admin.UserDetails{User: alice, Sex: "female", Birthday: "1990-01-01", Sign: "two\nlines", Friends: 1, Tokens: 1}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}

	if u, err := client.DisableUser(ctx, "id:"+alice.ID); err != nil || !u.Disabled {
		t.Errorf("disabled %+v, %v", u, err)
	}
	if err := f.store.Tokens.Check(ctx, alice.ID, token); !errors.Is(err, kv.ErrTokenInvalid) {
		t.Errorf("token of a disabled account: got %v, want ErrTokenInvalid", err)
	}
	if u, err := client.EnableUser(ctx, alice.ID); err != nil || u.Disabled {
		t.Errorf("enabled %+v, %v", u, err)
	}
	before, err := f.store.Users.Get(ctx, bob.ID)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := client.SetPassword(ctx, "bob", "another"); err != nil || u != bob {
		t.Errorf("SetPassword returned %+v, %v; want %+v", u, err, bob)
	}
	after, err := f.store.Users.Get(ctx, bob.ID)
	if err != nil || after.PasswordHash == before.PasswordHash {
		t.Errorf("the password did not change: %v", err)
	}
	if u, err := client.DeleteUser(ctx, "alice"); err != nil || u.ID != alice.ID {
		t.Errorf("deleted %+v, %v", u, err)
	}
	_, err = client.User(ctx, alice.ID)
	wantCode(t, err, admin.NotFound)
	if got, err := client.User(ctx, "bob"); err != nil || got.Friends != 0 {
		t.Errorf("friend of a deleted account: %+v, %v; want no friends", got, err)
	}
	if out := f.log.String(); strings.Contains(out, "secret") || strings.Contains(out, "another") {
		t.Errorf("the log has a password:\n%s", out)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	client := f.serve(t)
	ctx := t.Context()
	for name, r := range map[string]admin.CreateUser{
		"no account":              {Password: "p"},
		"white space account":     {Account: " \t", Password: "p"},
		"no password":             {Account: "a"},
		"long password":           {Account: "a", Password: strings.Repeat("p", 21)},
		"long account":            {Account: strings.Repeat("ä", 65), Password: "p"},
		"control character":       {Account: "a\nb", Password: "p"},
		"control character, sign": {Account: "a", Password: "p", Sign: "\x1b[2J"},
		"long name":               {Account: "a", Password: "p", Name: strings.Repeat("n", 65)},
		"long mail":               {Account: "a", Password: "p", Mail: strings.Repeat("m", 255)},
		"long sign":               {Account: "a", Password: "p", Sign: strings.Repeat("s", 513)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.CreateUser(ctx, r)
			wantCode(t, err, admin.Invalid)
		})
	}
	id := kv.NewID()
	for _, user := range []string{"nobody", id, "id:" + id, "id:nobody"} {
		_, err := client.User(ctx, user)
		wantCode(t, err, admin.NotFound)
		_, err = client.SetPassword(ctx, user, "p")
		wantCode(t, err, admin.NotFound)
		_, err = client.DisableUser(ctx, user)
		wantCode(t, err, admin.NotFound)
		_, err = client.EnableUser(ctx, user)
		wantCode(t, err, admin.NotFound)
		_, err = client.DeleteUser(ctx, user)
		wantCode(t, err, admin.NotFound)
	}
	_, err := client.User(ctx, " ")
	wantCode(t, err, admin.Invalid)
	for _, r := range []admin.ListUsers{{After: "x"}, {After: "-1"}, {Limit: -1}, {Limit: admin.MaxPage + 1}} {
		_, err := client.ListUsers(ctx, r)
		wantCode(t, err, admin.Invalid)
	}
}

func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.serve(t)
	for _, request := range []string{
		`{`, `[]`, `"alice"`, `{"user":"alice"}{}`, `{"user":"alice"} x`, `{"user":1}`, `{"usr":"alice"}`, "\xff", `{"user":null}`, ``, `null`,
	} {
		msg, err := f.nc.Request(prefix+".admin.user.show", []byte(request), 10*time.Second)
		if err != nil {
			t.Fatalf("%q: %v", request, err)
		}
		if code := msg.Header.Get(micro.ErrorCodeHeader); code != string(admin.Invalid) || msg.Header.Get(micro.ErrorHeader) == "" {
			t.Errorf("request %q: answer %v %s, want code invalid", request, msg.Header, msg.Data)
		}
	}
}

// TestIDBeforeAccount checks that a user who registers the id of another user as its account does not receive the
// changes meant for that user.
func TestIDBeforeAccount(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	client := f.serve(t)
	ctx := t.Context()
	alice, err := client.CreateUser(ctx, admin.CreateUser{Account: "alice", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	mallory, err := client.CreateUser(ctx, admin.CreateUser{Account: alice.ID, Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	hex, err := client.CreateUser(ctx, admin.CreateUser{Account: kv.NewID(), Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	odd, err := client.CreateUser(ctx, admin.CreateUser{Account: "id:odd", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		alice.ID: alice.ID, "id:" + alice.ID: alice.ID, mallory.ID: mallory.ID, hex.Account: hex.ID, "id:odd": odd.ID, "ALICE": alice.ID,
	} {
		if got, err := client.User(ctx, ref); err != nil || got.ID != want {
			t.Errorf("reference %s: got user %s, %v; want %s", ref, got.ID, err, want)
		}
	}
	_, err = client.User(ctx, "id:"+hex.Account)
	wantCode(t, err, admin.NotFound)
}

// TestServiceInfo checks the answer to $SRV.INFO.
func TestServiceInfo(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.serve(t)
	msg, err := f.nc.Request("$SRV.INFO.imctl", nil, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var info micro.Info
	if err := json.Unmarshal(msg.Data, &info); err != nil {
		t.Fatal(err)
	}
	var subjects []string
	for _, e := range info.Endpoints {
		subjects = append(subjects, e.Subject)
		for _, key := range []string{"description", "request", "response", "errors"} {
			if e.Metadata[key] == "" {
				t.Errorf("endpoint %s has no %s", e.Name, key)
			}
		}
	}
	want := "user.list user.show user.lookup user.create user.passwd user.source user.disable user.enable user.delete user.export user.import " +
		"friend.list friend.add friend.remove friend.import session.list session.close token.list token.revoke " +
		"attach.add attach.list attach.rotate attach.remove attach.resume webhook.add webhook.list webhook.show webhook.remove webhook.test webhook.rotate webhook.enable webhook.disable failed.list failed.show failed.replay failed.drop invite.create invite.list invite.revoke server.status log.follow report.list report.show report.remove talk.export talk.import talk.show talk.purge cluster.status cluster.remove"
	if got := strings.ReplaceAll(strings.Join(subjects, " "), "im.admin.", ""); got != want {
		t.Errorf("subjects: got %s\nwant %s", got, want)
	}
}

func TestNoService(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	if err := admin.NewClient(f.nc, prefix).Ping(t.Context()); !errors.Is(err, admin.ErrNoService) {
		t.Errorf("got %v, want ErrNoService", err)
	}
}

// noLog is the im.Log of a test that reads no events.
type noLog struct{}

func (noLog) User(eventlog.UserEvent, kv.User) {}
func (noLog) Friend(kv.Change)                 {}
func (noLog) Report(kv.Report)                 {}
