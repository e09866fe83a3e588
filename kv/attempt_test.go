package kv

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natstest"
)

// lossy loses the acknowledgement of the next write of one message, or has a refusal in its place, or calls instead in
// place of the write.
type lossy struct {
	jetstream.JetStream
	lose    bool
	refuse  error
	instead func()
}

func (l *lossy) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if instead := l.instead; instead != nil {
		l.instead = nil
		instead()
		return nil, context.DeadlineExceeded
	}
	ack, err := l.JetStream.PublishMsg(ctx, m, opts...)
	if err == nil && l.lose {
		l.lose = false
		return nil, context.DeadlineExceeded
	}
	if refuse := l.refuse; refuse != nil && err == nil {
		l.refuse = nil
		return nil, refuse
	}
	return ack, err
}

// TestLostAcknowledgement: a write that is stored and not acknowledged succeeds, and is stored once. A write that
// another one was faster than is a conflict, even if the first attempt was not acknowledged.
func TestLostAcknowledgement(t *testing.T) {
	t.Parallel()
	s := openStore(t, natstest.Connect(t, natstest.StartCluster(t, 3).URL()), Options{Replicas: 3})
	ctx := testContext(t)
	for _, b := range []*bucket{s.Users.b, s.Tokens.b} {
		js := &lossy{JetStream: b.js}
		b.js = js
		key := userKey(NewID())
		w := putAt(key, []byte("x"), 0)
		if b == s.Tokens.b {
			key = tokenKey(NewID(), NewID())
			w = put(key, []byte("x"))
		}
		js.lose = true
		revision, err := b.write(ctx, w)
		e, read := b.getLeader(ctx, key)
		if err != nil || read != nil || e.revision != revision || js.lose {
			t.Errorf("write: %d, %v; stored at %d, %v", revision, err, e.revision, read)
		}
		last := func() uint64 {
			t.Helper()
			stream, err := b.js.Stream(ctx, b.stream())
			if err != nil {
				t.Fatal(err)
			}
			return stream.CachedInfo().State.LastSeq
		}
		if n := last(); n != revision {
			t.Errorf("the last revision is %d, want %d: the write is stored twice", n, revision)
		}
		if b == s.Users.b {
			js.refuse = &jetstream.APIError{Code: 400, ErrorCode: jetstream.JSErrCodeStreamWrongLastSequenceConstant}
			if revision, err = b.write(ctx, putAt(key, []byte("z"), revision)); err != nil || revision != last() {
				t.Errorf("a write that an earlier leader refuses and the new one stores: %d, %v; the last revision is %d", revision, err, last())
			}
			js.instead = func() {
				if _, err := b.write(ctx, putAt(key, []byte("y"), revision)); err != nil {
					t.Error(err)
				}
			}
			if _, err := b.write(ctx, putAt(key, []byte("y"), revision)); !Conflicting(err) {
				t.Errorf("a write that another one with the same value was faster than: %v", err)
			}
		}
	}
	// A batch, and another one that is stored in its place.
	b, one, two := s.Users.b, userKey(NewID()), userKey(NewID())
	writes := []write{putAt(one, []byte("x"), 0), putAt(two, []byte("x"), 0)}
	last, err := b.publish(ctx, "mine", writes)
	if err != nil {
		t.Fatal(err)
	}
	conflict := errors.New("conflict")
	if got, stored, err := b.stored(ctx, "mine", writes, conflict); got != last || !stored || err != nil {
		t.Errorf("own batch: %d, %t, %v; want %d", got, stored, err, last)
	}
	if _, stored, err := b.stored(ctx, "other", writes, conflict); stored || err != conflict {
		t.Errorf("the batch of another writer: %t, %v", stored, err)
	}
	outdated := []write{putAt(one, []byte("x"), last+1)} // a later revision was read than that of an earlier leader
	if _, stored, err := b.stored(ctx, "other", outdated, conflict); stored || !errors.Is(err, errOpen) {
		t.Errorf("an outdated revision: %t, %v", stored, err)
	}
	if _, stored, err := b.stored(ctx, "other", []write{putAt(userKey(NewID()), nil, 0)}, conflict); stored || !errors.Is(err, errOpen) || !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("a batch that is not stored yet: %t, %v", stored, err)
	}
}

// TestLeaderDies: reads and registrations go on when the leader of the stream is killed, hangs or is cut off. No
// registration is told that its own account is taken.
func TestLeaderDies(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what   string
		fail   func(*natstest.ClusterNode)
		repair func(*natstest.ClusterNode)
	}{
		{"killed", (*natstest.ClusterNode).Kill, func(n *natstest.ClusterNode) { n.Restart(t) }},
		{"hangs", (*natstest.ClusterNode).Hang, (*natstest.ClusterNode).Resume},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			c := natstest.StartCluster(t, 3)
			s := openStore(t, natstest.Connect(t, c.URL()), Options{Replicas: 3})
			ctx := testContext(t)
			known := mustCreate(t, s, "known", "x")
			leader := c.StreamLeader(s.Users.b.stream())
			for _, n := range c.Nodes {
				if n != leader { // a connection to another node than the leader
					s = openStore(t, natstest.Connect(t, n.URL(), nats.IgnoreDiscoveredServers()), Options{Replicas: 3})
					break
				}
			}
			began := time.Now()
			errs := atOnce(20, func(i int) error {
				if i == 10 {
					row.fail(leader)
				}
				_, err := s.Users.Create(ctx, User{Account: fmt.Sprint("account", i)})
				return err
			})
			for i, err := range errs {
				if err != nil {
					t.Errorf("registration %d: %v", i, err)
				}
			}
			got, _, err := s.Users.read(ctx, known.ID, true)
			if err != nil || got != known {
				t.Errorf("read: %v, %v", got, err)
			}
			if _, err := s.Nodes.IDs(ctx); err != nil {
				t.Error(err)
			}
			t.Logf("after %s", time.Since(began))
			row.repair(leader)
			for i := range errs {
				if u, err := s.Users.ByAccount(ctx, fmt.Sprint("account", i)); err != nil || u.Account == "" {
					t.Errorf("account %d: %v", i, err)
				}
			}
			if n, err := s.Users.Count(ctx); n != len(errs)+1 || err != nil {
				t.Errorf("Count = %d, %v", n, err)
			}
		})
	}
}

// TestReplicaSilent: reads of a replicated bucket succeed although the nearest replica answers no direct get.
func TestReplicaSilent(t *testing.T) {
	t.Parallel()
	srv := startServer(t, t.TempDir(), false)
	nc := connect(t, srv)
	s := openStore(t, nc, Options{})
	b := s.Users.b
	known, other := mustCreate(t, s, "known", "x"), mustCreate(t, s, "other", "x")
	replicated := *b.location.Load()
	replicated.replicated = true
	b.location.Store(&replicated)
	if _, err := nc.Subscribe("silent.>", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	for _, api := range []string{b.directAPI(), b.directAPI() + ".>"} {
		if err := srv.GlobalAccount().AddMapping(api, "silent."+api); err != nil {
			t.Fatal(err)
		}
	}
	ctx := testContext(t)
	once := func(what string, read func(context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, 10*attemptTimeout)
		defer cancel()
		if err := read(ctx); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	once("get", func(ctx context.Context) error {
		e, err := b.get(ctx, userKey(known.ID), false)
		if err == nil && e.key != userKey(known.ID) {
			err = fmt.Errorf("got the key %s", e.key)
		}
		return err
	})
	once("get of a missing key", func(ctx context.Context) error {
		if _, err := b.get(ctx, userKey(NewID()), false); !errors.Is(err, errKeyNotFound) {
			return fmt.Errorf("%w, want %w", err, errKeyNotFound)
		}
		return nil
	})
	once("nextKey", func(ctx context.Context) error {
		_, err := b.nextKey(ctx, ">", 0)
		return err
	})
	keys := []string{userKey(known.ID), userKey(other.ID), userKey(NewID())}
	if all, err := b.getMany(ctx, keys); err != nil || len(all) != 2 {
		t.Errorf("getMany returned %d keys, %v; want 2", len(all), err)
	}
}
