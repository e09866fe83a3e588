package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Buckets of format 0 were written without the rules of kinds. Their block files hold older messages of keys that were
// purged or have expired since, and any rebuild of the index may bring these back. Until then the messages are invisible.
// So an upgrade writes every valid key again, behind all existing messages, and then purges everything before, which
// makes the server remove the old block files.

const (
	fillKey = "fill."
	// fillBytes is the size of the padding before the first key. It is more than the largest block file of nats-server,
	// 8 MiB, so that no block file has both an older message and a new one.
	fillBytes = 9 << 20
	// fillMessage bounds one message of the padding.
	fillMessage = 768 << 10
)

// LogStream returns the name of the stream of the event log.
func LogStream(prefix string) string { return strings.ToUpper(prefix) + "_LOG" }

// upgrade converts the buckets to the current format. If it is interrupted, the next upgrade begins anew. It takes some
// minutes for a million accounts. It ignores the deadline of ctx, but ends if ctx is cancelled before.
func (s *Store) upgrade(ctx context.Context, o Options) error {
	began := time.Now()
	o.Log.Info("converting the buckets to this version's format", "format", currentFormat)
	ctx, cancel := withoutDeadline(ctx)
	defer cancel()
	i := newInspector(s.Users)
	err := s.Users.b.evacuate(ctx, func(ctx context.Context, entries []entry) ([]write, error) {
		rulings, err := i.inUsers(ctx, entries)
		if err != nil {
			return nil, err
		}
		var writes []write
		for _, r := range rulings {
			w, keep, err := s.upgradeUsersKey(ctx, r, i, o)
			if err != nil {
				return nil, err
			}
			if keep {
				writes = append(writes, w)
			}
		}
		return writes, nil
	})
	if err == nil {
		err = s.Rosters.b.evacuate(ctx, func(ctx context.Context, entries []entry) (writes []write, err error) {
			rulings, err := i.inRosters(ctx, entries)
			for _, r := range rulings {
				if r.counter != nil {
					*r.counter += r.found
				}
				if r.keep && !r.deleted {
					writes = append(writes, r.moved())
				}
			}
			return writes, err
		})
	}
	if err == nil {
		err = s.sweepTokens(ctx, i)
	}
	if err != nil {
		return fmt.Errorf("kv: convert the buckets to format %d: %w", currentFormat, err)
	}
	f := i.found
	o.Log.Info("converted the buckets to this version's format", "took", time.Since(began).Round(time.Millisecond), "users", f.Users, "accounts", f.Accounts,
		"names", f.Names, "rosters", f.Rosters, "friends", f.Friends, "tokens", f.Tokens, "attachments", f.Attachments, "unknown", f.Unknown)
	if i.disabled > 0 {
		o.Log.Info("some disabled accounts may be deleted accounts that came back: review imctl user list --disabled", "disabled", i.disabled)
	}
	return nil
}

// withoutDeadline returns a context that is cancelled when ctx is cancelled, but not when the deadline of ctx passes.
func withoutDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	free, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel()
		}
	})
	return free, func() { stop(); cancel() }
}

// moved returns the write that moves a key behind all others.
func (r ruling) moved() write {
	w := putAt(r.key, r.value, r.revision)
	if r.want != nil {
		w.value = r.want
	}
	w.moves = true
	return w
}

// upgradeUsersKey returns the write that keeps a key of the bucket of users, and whether the key is kept.
func (s *Store) upgradeUsersKey(ctx context.Context, r ruling, i *inspector, o Options) (w write, keep bool, err error) {
	kind, rest, _ := strings.Cut(r.key, ".")
	switch {
	case r.deleted, kind == "reset", kind == "work", kind+"." == fillKey: // reset codes live for minutes: users request new ones
		return w, false, nil
	case r.counter != nil:
		*r.counter += r.found
		return w, false, nil
	case kind == "attach":
		return s.upgradeAttachment(ctx, r, i, o)
	case kind == "node" && !strings.Contains(rest, "."):
		return putAt(nodeKey(rest, NewID()[:16]), r.value, 0), true, nil
	}
	return r.moved(), true, nil
}

// upgradeAttachment keeps an attachment whose consumer exists. Any other attachment may be a removed one that came back,
// so the administrator must add it again.
func (s *Store) upgradeAttachment(ctx context.Context, r ruling, i *inspector, o Options) (w write, keep bool, err error) {
	record, err := decodeAttachment(r.entry)
	if err != nil {
		return w, false, err
	}
	if !record.Confirmed && record.Role == RoleConsumer && record.SecretHash != "" {
		_, err := s.Users.b.js.Consumer(ctx, LogStream(o.Prefix), record.Name)
		switch {
		case err == nil:
			record.Confirmed = true
		case !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound):
			return w, false, err
		}
	}
	if !record.Confirmed {
		i.found.Attachments++
		o.Log.Warn("removed an attachment that an older version may have removed already; to keep it, add it again: "+
			"imctl attach add "+record.Name+" --role "+string(record.Role), "attachment", record.Name, "role", record.Role)
		return w, false, nil
	}
	if r.want, err = json.Marshal(record); err != nil {
		return w, false, err
	}
	return r.moved(), true, nil
}

// sweepTokens revokes the tokens of users who do not exist. No token is written twice, so none comes back.
func (s *Store) sweepTokens(ctx context.Context, i *inspector) error {
	return s.Tokens.b.pages(ctx, 0, func(entries []entry) error {
		rulings, err := i.inTokens(ctx, entries)
		for n := 0; err == nil && n < len(rulings); n++ {
			if r := rulings[n]; r.counter != nil {
				*r.counter += r.found
				err = s.Tokens.b.apply(ctx, r)
			}
		}
		return err
	})
}

// evacuate calls keep with each page of the bucket, writes what keep returns behind all existing messages, and removes
// the messages that existed before.
func (b *bucket) evacuate(ctx context.Context, keep func(context.Context, []entry) ([]write, error)) error {
	stream, err := b.js.Stream(ctx, b.stream())
	if err != nil {
		return err
	}
	last := stream.CachedInfo().State.LastSeq
	if last == 0 {
		return nil
	}
	filled, err := b.fill(ctx)
	if err != nil {
		return err
	}
	err = b.pages(ctx, last, func(entries []entry) error {
		writes, err := keep(ctx, entries)
		if err != nil {
			return err
		}
		return b.moveAll(ctx, writes)
	})
	if err != nil {
		return err
	}
	return b.purgeAll(ctx, "", filled+1)
}

// fill writes padding of more than a block file, and returns the revision of its last message.
func (b *bucket) fill(ctx context.Context) (last uint64, err error) {
	size := int(min(fillMessage, b.nc.MaxPayload()*3/4))
	for written := 0; written < fillBytes; written += size {
		if last, err = b.write(ctx, putAt(fillKey+NewID(), make([]byte, size), 0)); err != nil {
			return 0, err
		}
	}
	return last, nil
}

// moveAll writes all of writes, in batches that the server accepts.
func (b *bucket) moveAll(ctx context.Context, writes []write) error {
	for len(writes) > 0 {
		n, size := 0, 0
		for n < len(writes) && n < bulkBatch && (n == 0 || size+len(writes[n].value) <= bulkBytes) {
			size += len(writes[n].value)
			n++
		}
		batch, cancel := context.WithTimeout(ctx, bulkWait)
		_, err := b.write(batch, writes[:n]...)
		cancel()
		if err != nil {
			return err
		}
		writes = writes[n:]
	}
	return nil
}
