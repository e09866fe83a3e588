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
	// bulkBatch is how many messages one batch of a bulk has. It is a multiple of the 3 keys of an account.
	bulkBatch = batch.MaxSize - batch.MaxSize%3
	// bulkBytes bounds a batch whose records are large; the server keeps all of it until it is whole.
	bulkBytes = 4 << 20
	// bulkWait bounds one batch.
	bulkWait = time.Minute
	// bulkPurges is how many users' keys are purged at the same time.
	bulkPurges = 16
)

// Bulk makes and removes many accounts at a time, in batches of hundreds, for tests and measurements. It applies no
// rules of friendship and tells no node. So the accounts must be new or not in use, and the caller must pass
// consistent rosters.
type Bulk struct {
	users, rosters, tokens *bucket
}

// Member is an account with its roster.
type Member struct {
	User // ID has to be set, since others' rosters name it
	Roster
}

// NewBulk returns a bulk on the buckets in use. It leaves their configuration alone.
//
// Errors: ErrNoState.
func NewBulk(ctx context.Context, nc *nats.Conn, prefix string) (*Bulk, error) {
	in, err := findInUse(ctx, nc, prefix)
	if err != nil {
		return nil, err
	}
	return &Bulk{
		users:   newBucket(in.js, in.names.users, 1),
		rosters: newBucket(in.js, in.names.friendships, 1),
		tokens:  newBucket(in.js, in.names.tokens, 1),
	}, nil
}

// Create makes the accounts. If it fails, some may have been made: all accounts of a batch or none.
//
// Errors: ErrAccountExists, ErrAccountEmpty, ErrUserNotFound for an invalid id.
func (b *Bulk) Create(ctx context.Context, members iter.Seq[Member]) error {
	err := b.both(ctx, members, func(m Member, users, rosters *bulkWriter) error {
		folded := FoldAccount(m.Account)
		switch {
		case !ValidID(m.ID):
			return ErrUserNotFound
		case folded == "":
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
		// In the order of Users.Create, and for its reasons.
		writes := []write{putAt(accountKey(folded), []byte(m.ID), 0)}
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
	if conflicting(err) {
		err = ErrAccountExists
	}
	if err != nil {
		return fmt.Errorf("kv: make accounts: %w", err)
	}
	return nil
}

// Remove removes accounts with their rosters and tokens. members are those that Create was given; Remove iterates over
// them twice. It leaves the rosters of other users alone. A missing account is no error.
func (b *Bulk) Remove(ctx context.Context, members iter.Seq[Member]) error {
	err := b.both(ctx, members, func(m Member, users, rosters *bulkWriter) error {
		if !ValidID(m.ID) {
			return ErrUserNotFound
		}
		if err := users.add(put(userKey(m.ID), nil).asMarker()); err != nil {
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
			claim, err := b.users.get(ctx, accountKey(FoldAccount(m.Account)), true)
			if errors.Is(err, errNoKey) || err == nil && string(claim.value) != m.ID { // the account belongs to another user now
				return nil
			}
			if err != nil {
				return err
			}
			return b.users.purge(ctx, claim.key, claim.revision+1)
		})
	}
	return purges.Wait()
}

// both has write put every member into batches for the two buckets, which are sent side by side.
func (b *Bulk) both(ctx context.Context, members iter.Seq[Member], write func(m Member, users, rosters *bulkWriter) error) error {
	group, ctx := errgroup.WithContext(ctx)
	users, rosters := newBulkWriter(ctx, b.users, group), newBulkWriter(ctx, b.rosters, group)
	err := func() error {
		for m := range members {
			if err := write(m, users, rosters); err != nil {
				return err
			}
		}
		if err := users.flush(); err != nil {
			return err
		}
		return rosters.flush()
	}()
	close(users.batches)
	close(rosters.batches)
	if sent := group.Wait(); sent != nil {
		return sent // err only says that it was given up then
	}
	return err
}

// bulkWriter gathers writes to one bucket, and sends a batch while the next is gathered.
type bulkWriter struct {
	ctx     context.Context
	batches chan []write
	next    []write
	bytes   int
}

func newBulkWriter(ctx context.Context, b *bucket, group *errgroup.Group) *bulkWriter {
	w := &bulkWriter{ctx: ctx, batches: make(chan []write, 1)}
	group.Go(func() error {
		for writes := range w.batches {
			ctx, cancel := context.WithTimeout(ctx, bulkWait)
			_, err := b.write(ctx, writes...)
			cancel()
			if err != nil {
				return err
			}
		}
		return nil
	})
	return w
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
