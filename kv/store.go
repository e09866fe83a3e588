// Package kv keeps users, tokens and friendships in three JetStream key-value buckets.
//
// What must change together (an account with its claim and its name, the two rosters of a
// friendship) is written as one atomic batch with the expected revision of every key, so nothing
// half-made can be seen, on any node, whatever breaks. The rules of friendship are pure functions
// in rules.go; the stores only read, apply and write.
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
)

// Options say where the buckets are and what bounds them.
type Options struct {
	Prefix      string        // of the buckets' names; default "im"
	Replicas    int           // of each bucket; default 1
	TokenTTL    time.Duration // a token's time to live; default 24h
	MaxFriends  int           // in one roster; default 2000
	MaxRequests int           // pending to one user, and from one user; default 200
	Log         *slog.Logger  // default: none
	Wait        time.Duration // for NATS to have a leader and answer, not counting an upgrade; default: as long as ctx allows

	// Expected are streams that must exist, with their times of creation, as the caller remembers them. They count
	// where the state itself is lost.
	Expected map[string]time.Time
	// AcceptLoss names streams that may be missing and are made anew, empty.
	AcceptLoss []string
	// Remember, if set, is told which streams must exist whenever that changes, for the Expected of a later Open.
	Remember func(streams map[string]time.Time) error
	// MayWrite is asked before a write is sent to NATS, and refuses it by an error; token marks the write of a login's token.
	// By default nothing is refused.
	MayWrite func(token bool) error
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = "im"
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.TokenTTL == 0 {
		o.TokenTTL = 24 * time.Hour
	}
	if o.MaxFriends == 0 {
		o.MaxFriends = 2000
	}
	if o.MaxRequests == 0 {
		o.MaxRequests = 200
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MayWrite == nil {
		o.MayWrite = func(bool) error { return nil }
	}
	return o
}

// Store is the three buckets. It is safe for concurrent use, and holds nothing that would have
// to be closed: the connection is the caller's.
type Store struct {
	Users   *Users
	Tokens  *Tokens
	Rosters *Rosters
	Nodes   *Nodes
	Resets  *Resets

	Attachments *Attachments

	States *States

	o     Options
	state atomic.Pointer[State] // that names the buckets in use
}

var bucketPrefix = regexp.MustCompile(`^[-_a-zA-Z0-9]+$`)

// Open makes the buckets, or checks and updates those that exist, and returns the store on them.
// In a cluster that has no leader yet it keeps trying until ctx ends.
//
// Errors: ErrServerTooOld, ErrNoJetStream, ErrStreamMismatch, ErrRestoreUnfinished, *LostError.
func Open(ctx context.Context, nc *nats.Conn, o Options) (*Store, error) {
	o = o.withDefaults()
	whole := ctx
	ctx, cancel := o.waiting(whole)
	defer func() { cancel() }()
	if !bucketPrefix.MatchString(o.Prefix) {
		return nil, fmt.Errorf("kv: prefix %q: only letters, digits, - and _ may be in it", o.Prefix)
	}
	if o.TokenTTL < time.Second {
		return nil, fmt.Errorf("kv: tokens would live %s: a second is the least", o.TokenTTL)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	if err := checkServer(ctx, nc, js); err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	states, state, err := openState(ctx, js, o)
	if err != nil {
		return nil, err
	}
	open := func(name string, cfg jetstream.StreamConfig) *bucket {
		if err != nil {
			return nil
		}
		var have jetstream.StreamConfig
		if have, err = EnsureStream(ctx, js, cfg, bucketRules, o.Log); err != nil {
			err = fmt.Errorf("kv: bucket %s: %w", name, err)
			return nil
		}
		if have.PersistMode != cfg.PersistMode {
			// Safe, only slower: misfit refuses the other way round.
			o.Log.Warn("tokens wait for the disk: the stream was made so, and NATS can't change it", "stream", have.Name)
		}
		return newBucket(js, name, have.Replicas)
	}
	n := namesOf(o.Prefix, state.Slot)
	s := &Store{
		Users:   &Users{b: open(n.users, recordsConfig(n.users, o)), log: o.Log},
		Tokens:  &Tokens{b: open(n.tokens, tokensConfig(n.tokens, o)), ttl: o.TokenTTL},
		Rosters: newRosters(open(n.friendships, recordsConfig(n.friendships, o)), o),
		States:  states,
		o:       o,
	}
	if err != nil {
		return nil, err
	}
	if state.Format < currentFormat {
		if err := s.upgrade(whole, o); err != nil {
			return nil, err
		}
		cancel()
		ctx, cancel = o.waiting(whole)
	}
	if state, err = states.expectSlot(ctx, state.Slot); errors.Is(err, errSlotChanged) {
		return Open(whole, nc, o)
	}
	if err != nil {
		return nil, err
	}
	s.state.Store(&state)
	s.shareUsers()
	s.guard(o.MayWrite)
	return s, nil
}

// guard has every write but those of nodes ask before it is sent.
func (s *Store) guard(mayWrite func(token bool) error) {
	s.Users.b.mayWrite = func() error { return mayWrite(false) }
	s.Rosters.b.mayWrite = s.Users.b.mayWrite
	s.Tokens.b.mayWrite = func() error { return mayWrite(true) }
}

// Writable is nil while changes are taken. Errors: ErrReadOnly.
func (s *Store) Writable() error { return s.Users.b.writable() }

// FindStore returns the store on the buckets that are in use, and leaves their configuration alone.
//
// Errors: ErrNoState.
func FindStore(ctx context.Context, nc *nats.Conn, prefix string) (*Store, error) {
	if !bucketPrefix.MatchString(prefix) {
		return nil, fmt.Errorf("kv: prefix %q: only letters, digits, - and _ may be in it", prefix)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	states, err := FindStates(ctx, js, prefix)
	if err != nil {
		return nil, err
	}
	state, err := states.Get(ctx)
	if err != nil {
		return nil, err
	}
	n := namesOf(prefix, state.Slot)
	found := make(map[string]*bucket, 3)
	for _, name := range []string{n.users, n.tokens, n.friendships} {
		s, err := js.Stream(ctx, streamOf(name))
		if err != nil {
			return nil, fmt.Errorf("kv: bucket %s: %w", name, err)
		}
		found[name] = newBucket(js, name, s.CachedInfo().Config.Replicas)
	}
	o := Options{Prefix: prefix}.withDefaults()
	s := &Store{Users: &Users{b: found[n.users], log: o.Log}, Tokens: &Tokens{b: found[n.tokens], ttl: o.TokenTTL},
		Rosters: newRosters(found[n.friendships], o), States: states}
	s.shareUsers()
	return s, nil
}

// shareUsers makes the stores that are in the bucket of users.
func (s *Store) shareUsers() {
	s.Nodes, s.Resets, s.Attachments = &Nodes{b: s.Users.b}, &Resets{b: s.Users.b}, &Attachments{b: s.Users.b}
}

// apiLevel is JetStream's API level of nats-server 2.12, the first with atomic batches and
// asynchronous persistence. The level and not the version decides: in a mixed cluster it is the
// leader's that counts, not that of the server one happens to be connected to.
const apiLevel = 2

func checkServer(ctx context.Context, nc *nats.Conn, js jetstream.JetStream) error {
	var info *jetstream.AccountInfo
	err := persist(ctx, func(ctx context.Context) (err error) {
		info, err = js.AccountInfo(ctx)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled),
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w on the NATS server at %s, or not for this account", ErrNoJetStream, nc.ConnectedUrlRedacted())
	case err != nil:
		return fmt.Errorf("ask for JetStream: %w", err)
	case info.API.Level < apiLevel:
		return fmt.Errorf("%w: it is %s, and atomic batches need 2.12 or later", ErrServerTooOld, nc.ConnectedServerVersion())
	}
	return nil
}
