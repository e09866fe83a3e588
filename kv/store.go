// Package kv stores users, tokens and friendships in three JetStream key-value buckets.
//
// Records that must change together (an account with its claim and its name, the two rosters of a friendship) are
// written as one atomic batch with the expected revision of every key. So no node ever sees a partial change,
// whatever fails. The rules of friendship are pure functions in rules.go; the stores only read, apply and write.
//
// A method's comment lists the errors that a caller may decide by. Beside these, each method returns the errors of
// NATS and of its context, and a method that writes records returns ErrReadOnly while writes are refused. Purges,
// such as those of revoked tokens, and the registration of a node are never refused.
package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
)

// Options configure a Store.
type Options struct {
	Prefix      string        // of the buckets' names; default "im"
	Replicas    int           // of each bucket; default 1
	TokenTTL    time.Duration // a token's time to live; default 24h
	TokenMaxAge time.Duration // from a login with the password to the end of all tokens that go back to it; 0: no limit
	MaxFriends  int           // in one roster; default 2000
	MaxRequests int           // pending to one user, and from one user; default 200
	Cooldown    time.Duration // between two requests of one user to another that are shown, and after a decline; default: none
	Talks       *TalksOptions // of the stream of conversations; nil: conversations are off
	Files       *FilesOptions // of the stream of files; nil: files are off
	Log         *slog.Logger  // default: none
	Wait        time.Duration // for NATS to have a leader and to answer, without the time of an upgrade; default: until ctx ends

	// Expected maps the streams and consumers that must exist to their creation times, as the caller remembers them.
	// It is used only if the state itself is lost.
	Expected map[string]time.Time
	// AcceptLoss names streams and consumers that may be missing. Missing streams are created again, empty.
	AcceptLoss []string
	// Remember, if set, is called with the streams and consumers that must exist whenever they change. The caller
	// passes them to a later Open as Expected.
	Remember func(streams map[string]time.Time) error
	// MayWrite, if set, is called before each write to NATS. Its error refuses the write. token is true for the token
	// of a login.
	MayWrite func(token bool) error
}

func (opts Options) withDefaults() Options {
	if opts.Prefix == "" {
		opts.Prefix = "im"
	}
	if opts.Replicas == 0 {
		opts.Replicas = 1
	}
	if opts.TokenTTL == 0 {
		opts.TokenTTL = 24 * time.Hour
	}
	if opts.MaxFriends == 0 {
		opts.MaxFriends = 2000
	}
	if opts.MaxRequests == 0 {
		opts.MaxRequests = 200
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.MayWrite == nil {
		opts.MayWrite = func(bool) error { return nil }
	}
	return opts
}

// Store has the three buckets and the state. It is safe for concurrent use and needs no Close, since the caller owns
// the connection.
type Store struct {
	Users   *Users
	Tokens  *Tokens
	Rosters *Rosters
	Nodes   *Nodes
	Resets  *Resets
	Reports *Reports
	Push    *Push
	Seals   *Seals

	// MailCodes are the codes that verify the addresses of users.
	MailCodes *Resets

	Attachments *Attachments
	Invites     *Invites
	Webhooks    *Webhooks

	States *States

	// Talks and Cursors keep conversations. Of Open, they are nil if conversations are off.
	Talks   *Talks
	Cursors *Cursors
	// Files keeps files. It is nil if files are off.
	Files *Files

	opts  Options
	state atomic.Pointer[State] // names the buckets that this store uses
}

var bucketPrefix = regexp.MustCompile(`^[-_a-zA-Z0-9]+$`)

// Open creates the buckets, or checks and updates the existing ones, and returns the store on them. While a cluster
// has no leader, Open retries until Options.Wait is over or ctx ends. Buckets of an older format are upgraded, which
// may take minutes.
//
// Errors: ErrServerTooOld, ErrNoJetStream, ErrStreamMismatch, ErrRestoreUnfinished, ErrConflict, *LostError.
func Open(ctx context.Context, nc *nats.Conn, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	unbounded := ctx
	ctx, cancel := opts.withWait(unbounded)
	defer func() { cancel() }()
	if err := checkPrefix(opts.Prefix); err != nil {
		return nil, err
	}
	if opts.TokenTTL < time.Second {
		return nil, fmt.Errorf("kv: a token's time to live is %s: use at least 1s", opts.TokenTTL)
	}
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	if err := checkServer(ctx, nc, js); err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	states, state, err := openCheckedState(ctx, js, opts)
	if err != nil {
		return nil, err
	}
	open := func(name string, cfg jetstream.StreamConfig) *bucket {
		if err != nil {
			return nil
		}
		var have jetstream.StreamConfig
		if have, err = EnsureStream(ctx, js, cfg, bucketRules, opts.Log); err != nil {
			err = fmt.Errorf("kv: bucket %s: %w", name, err)
			return nil
		}
		if have.PersistMode != cfg.PersistMode {
			// This is safe, only slower. EnsureStream refuses the opposite case.
			opts.Log.Warn("tokens are written synchronously: the stream was created that way, and NATS cannot change it", "stream", have.Name)
		}
		return newBucket(js, name, have.Replicas)
	}
	n := subject.Prefix(opts.Prefix).Buckets(state.Slot)
	s := &Store{
		Users:   &Users{b: open(n.Users, recordsConfig(n.Users, opts)), log: opts.Log},
		Tokens:  &Tokens{b: open(n.Tokens, tokensConfig(n.Tokens, opts)), ttl: opts.TokenTTL, maxAge: opts.TokenMaxAge},
		Rosters: newRosters(open(n.Friendships, recordsConfig(n.Friendships, opts)), opts),
		States:  states,
		opts:    opts,
	}
	if err != nil {
		return nil, err
	}
	if state.Format < currentFormat {
		if err := s.upgrade(unbounded, state.Format, opts); err != nil {
			return nil, err
		}
		cancel()
		ctx, cancel = opts.withWait(unbounded)
	}
	slot := state.Slot
	err = retrySettling(ctx, func(ctx context.Context) (err error) {
		state, err = states.expectSlot(ctx, slot)
		return err
	})
	if errors.Is(err, errSlotChanged) {
		return Open(unbounded, nc, opts)
	}
	if err != nil {
		return nil, err
	}
	if opts.Talks != nil {
		if s.Talks, err = openTalks(ctx, js, states, opts); err != nil {
			return nil, err
		}
		s.Cursors = &Cursors{b: s.Rosters.b}
	}
	if opts.Files != nil {
		if s.Files, err = openFiles(ctx, js, states, opts); err != nil {
			return nil, err
		}
	}
	s.state.Store(&state)
	s.shareUsers()
	s.guard(opts.MayWrite)
	return s, nil
}

// guard makes each write call mayWrite before it is sent, except the registration of a node.
func (s *Store) guard(mayWrite func(token bool) error) {
	s.Users.b.mayWrite = func() error { return mayWrite(false) }
	s.Rosters.b.mayWrite = s.Users.b.mayWrite
	s.Tokens.b.mayWrite = func() error { return mayWrite(true) }
	if s.Talks != nil {
		s.Talks.b.mayWrite = s.Users.b.mayWrite
	}
	if s.Files != nil {
		s.Files.b.mayWrite = s.Users.b.mayWrite
	}
}

// Writable returns nil while writes are accepted. Errors: ErrReadOnly.
func (s *Store) Writable() error { return s.Users.b.writable() }

// FindStore returns the store on the buckets in use, and does not change their configuration. Its Talks is nil if there
// is no stream of conversations.
//
// Errors: ErrNoState.
func FindStore(ctx context.Context, nc *nats.Conn, prefix string) (*Store, error) {
	in, err := findInUse(ctx, nc, prefix)
	if err != nil {
		return nil, err
	}
	n := in.names
	found := make(map[string]*bucket, 3)
	for _, name := range []string{n.Users, n.Tokens, n.Friendships} {
		s, err := findStream(ctx, in.js, subject.BucketStream(name))
		if err != nil {
			return nil, fmt.Errorf("kv: bucket %s: %w", name, err)
		}
		found[name] = newBucket(in.js, name, s.CachedInfo().Config.Replicas)
	}
	opts := Options{Prefix: prefix}.withDefaults()
	s := &Store{
		Users:   &Users{b: found[n.Users], log: opts.Log},
		Tokens:  &Tokens{b: found[n.Tokens], ttl: opts.TokenTTL},
		Rosters: newRosters(found[n.Friendships], opts),
		States:  in.states,
		Cursors: &Cursors{b: found[n.Friendships]},
	}
	if s.Talks, err = OpenTalks(ctx, nc, prefix); err != nil {
		return nil, err
	}
	s.shareUsers()
	return s, nil
}

// inUse has the state of a prefix and the names of the buckets in use.
type inUse struct {
	js     jetstream.JetStream
	states *States
	state  State
	names  subject.Buckets
}

// findInUse reads the state of a prefix. It changes nothing.
//
// Errors: ErrNoState.
func findInUse(ctx context.Context, nc *nats.Conn, prefix string) (inUse, error) {
	if err := checkPrefix(prefix); err != nil {
		return inUse{}, err
	}
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return inUse{}, fmt.Errorf("kv: %w", err)
	}
	states, err := FindStates(ctx, js, prefix)
	if err != nil {
		return inUse{}, err
	}
	state, err := states.Get(ctx)
	if err != nil {
		return inUse{}, err
	}
	return inUse{js: js, states: states, state: state, names: subject.Prefix(prefix).Buckets(state.Slot)}, nil
}

func checkPrefix(prefix string) error {
	if !bucketPrefix.MatchString(prefix) {
		return fmt.Errorf("kv: prefix %q: use only letters, digits, - and _", prefix)
	}
	return nil
}

// shareUsers sets the stores whose keys are in the bucket of users.
func (s *Store) shareUsers() {
	s.Nodes, s.Resets, s.Attachments = &Nodes{b: s.Users.b}, &Resets{b: s.Users.b}, &Attachments{b: s.Users.b}
	s.Invites = &Invites{b: s.Users.b}
	s.MailCodes = &Resets{b: s.Users.b, suffix: mailCodeSuffix}
	s.Reports = &Reports{b: s.Users.b}
	s.Push = &Push{b: s.Users.b}
	s.Seals = &Seals{b: s.Users.b}
	s.Webhooks = &Webhooks{b: s.Users.b}
}

// apiLevel is the JetStream API level of nats-server 2.12, the first version with atomic batches and asynchronous
// persistence. checkServer compares the level and not the version: in a mixed cluster the leader's level counts, and
// not the version of the server that this connection has.
const apiLevel = 2

// checkServer returns an error if the server lacks a feature. Errors: ErrServerTooOld, ErrNoJetStream.
func checkServer(ctx context.Context, nc *nats.Conn, js jetstream.JetStream) error {
	var info *jetstream.AccountInfo
	err := retryTransient(ctx, func(ctx context.Context) (err error) {
		info, err = js.AccountInfo(ctx)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled),
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w on the NATS server at %s, or not for this account", ErrNoJetStream, nc.ConnectedUrlRedacted())
	case err != nil:
		return fmt.Errorf("request JetStream's account information: %w", err)
	case info.API.Level < apiLevel:
		return fmt.Errorf("%w: it is %s, and atomic batches need 2.12 or later", ErrServerTooOld, nc.ConnectedServerVersion())
	}
	return nil
}
