package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"imctl/kv/batch"
)

const (
	// userKeys is how many keys an account has at most: claims of the account and its looks, the name, the entry of its
	// gateway, the record.
	userKeys = 1 + maxLooks + 3
	// bulkBatch is how many messages a batch of a bulk write has at most. It is a multiple of the keys of an account.
	bulkBatch = batch.MaxSize - batch.MaxSize%userKeys
	// bulkBytes bounds a batch of large records. The server keeps all of a batch in memory until the batch is complete.
	bulkBytes = 4 << 20
	// bulkTimeout bounds one batch.
	bulkTimeout = time.Minute
	// bulkPurges bounds how many users' keys are purged concurrently.
	bulkPurges = 16
)

// Bulk creates and removes many accounts in batches of hundreds, for tests and measurements. It applies no rules of
// friendship and informs no node. So the accounts must be new or not in use, and the caller must pass consistent
// rosters.
type Bulk struct {
	users, rosters, tokens *bucket
}

// Member is an account with its roster.
type Member struct {
	User // ID must be set, since the rosters of other members have it
	Roster
}

// NewBulk returns a Bulk on the buckets in use. It does not change their configuration.
//
// Errors: ErrNoState.
func NewBulk(ctx context.Context, nc *nats.Conn, prefix string) (*Bulk, error) {
	in, err := findInUse(ctx, nc, prefix)
	if err != nil {
		return nil, err
	}
	return &Bulk{
		users:   newBucket(in.js, in.names.Users, 1),
		rosters: newBucket(in.js, in.names.Friendships, 1),
		tokens:  newBucket(in.js, in.names.Tokens, 1),
	}, nil
}

// Create creates the accounts. If it fails, some accounts may exist: all of a batch or none.
//
// Errors: ErrAccountExists, ErrAccountEmpty, ErrUserNotFound for an invalid id.
func (b *Bulk) Create(ctx context.Context, members iter.Seq[Member]) error {
	err := b.writeMembers(ctx, members, func(m Member, users, rosters *bulkWriter) error {
		switch {
		case !ValidID(m.ID):
			return ErrUserNotFound
		case FoldAccount(m.Account) == "":
			return ErrAccountEmpty
		}
		if m.Created.IsZero() {
			m.Created = now()
		}
		record, err := json.Marshal(m.User)
		if err != nil {
			return err
		}
		roster, err := json.Marshal(m.Roster)
		if err != nil {
			return err
		}
		// The order is that of Users.Create, for the same reasons.
		writes := claims(m.User)
		if name := FoldAccount(m.Name); name != "" {
			writes = append(writes, putAt(nameKey(name, m.ID, 0), nil, 0))
		}
		if err := users.add(append(writes, putAt(userKey(m.ID), record, 0))...); err != nil {
			return err
		}
		if len(m.Friends)+len(m.Requests)+len(m.Asked) == 0 {
			return nil
		}
		return rosters.add(putAt(m.ID, roster, 0))
	})
	if Conflicting(err) {
		err = ErrAccountExists
	}
	if err != nil {
		return fmt.Errorf("kv: create accounts: %w", err)
	}
	return nil
}

// Remove removes accounts with their rosters and tokens. members are those that Create was given; Remove iterates
// over them twice. It does not change the rosters of other users. A missing account is no error.
//
// Errors: ErrUserNotFound for an invalid id.
func (b *Bulk) Remove(ctx context.Context, members iter.Seq[Member]) error {
	err := b.writeMembers(ctx, members, func(m Member, users, rosters *bulkWriter) error {
		if !ValidID(m.ID) {
			return ErrUserNotFound
		}
		if err := users.add(put(userKey(m.ID), nil).asMarker()); err != nil {
			return err
		}
		if err := rosters.add(put(cursorsKey(m.ID), nil).asMarker()); err != nil {
			return err
		}
		return rosters.add(put(m.ID, nil).asMarker())
	})
	if err == nil {
		err = b.purge(ctx, members)
	}
	if err != nil {
		return fmt.Errorf("kv: remove accounts: %w", err)
	}
	return nil
}

// purge removes the claims, names and tokens of deleted users.
func (b *Bulk) purge(ctx context.Context, members iter.Seq[Member]) error {
	purges, ctx := errgroup.WithContext(ctx)
	purges.SetLimit(bulkPurges)
	for m := range members {
		if ctx.Err() != nil {
			break
		}
		purges.Go(func() error {
			if err := b.tokens.purge(ctx, m.ID+".>", 0); err != nil {
				return err
			}
			if name := FoldAccount(m.Name); name != "" {
				if err := b.users.purge(ctx, nameKey(name, m.ID, 0), 0); err != nil {
					return err
				}
			}
			for _, key := range claimKeys(m.Account) {
				claim, err := b.users.get(ctx, key, true)
				if errors.Is(err, errKeyNotFound) || err == nil && string(claim.value) != m.ID { // the key belongs to another user now
					continue
				}
				if err == nil {
					err = b.users.purge(ctx, claim.key, claim.revision+1)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return purges.Wait()
}

// writeMembers calls write with each member, and with the writers to both buckets.
func (b *Bulk) writeMembers(ctx context.Context, members iter.Seq[Member], write func(m Member, users, rosters *bulkWriter) error) error {
	return writeBulk(ctx, []*bucket{b.users, b.rosters}, func(_ context.Context, writers []*bulkWriter) error {
		for m := range members {
			if err := write(m, writers[0], writers[1]); err != nil {
				return err
			}
		}
		return nil
	})
}

// bulkWriter collects the writes to one bucket in batches.
type bulkWriter struct {
	ctx     context.Context
	batches chan []write
	next    []write
	bytes   int
}

// writeBulk calls collect with a writer for each bucket, and writes what collect adds to them. Each writer writes one
// batch while collect fills the next. After a failed write, the context and the add calls of collect fail.
func writeBulk(ctx context.Context, buckets []*bucket, collect func(ctx context.Context, writers []*bulkWriter) error) error {
	group, ctx := errgroup.WithContext(ctx)
	writers := make([]*bulkWriter, len(buckets))
	for i, b := range buckets {
		w := &bulkWriter{ctx: ctx, batches: make(chan []write, 1)}
		writers[i] = w
		group.Go(func() error { return w.run(b) })
	}
	err := collect(ctx, writers)
	for _, w := range writers {
		if err == nil {
			err = w.flush()
		}
		close(w.batches)
	}
	if failed := group.Wait(); failed != nil {
		return failed // err is only the cancellation that follows from it
	}
	return err
}

// run writes the batches.
func (w *bulkWriter) run(b *bucket) error {
	for writes := range w.batches {
		ctx, cancel := context.WithTimeout(w.ctx, bulkTimeout)
		_, err := b.write(ctx, writes...)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// add keeps the writes of one call in one batch.
func (w *bulkWriter) add(writes ...write) error {
	size := 0
	for _, one := range writes {
		size += len(one.key) + len(one.value)
	}
	if len(w.next)+len(writes) > bulkBatch || len(w.next) > 0 && w.bytes+size > bulkBytes {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.next, w.bytes = append(w.next, writes...), w.bytes+size
	return nil
}

// flush passes the collected writes on as one batch.
func (w *bulkWriter) flush() error {
	if len(w.next) == 0 {
		return nil
	}
	select {
	case w.batches <- w.next:
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
	w.next, w.bytes = nil, 0
	return nil
}
