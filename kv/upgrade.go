package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
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

// waiting returns the context for all of Open except an upgrade.
func (o Options) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.Wait == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, o.Wait)
}

// upgrade converts the buckets to the current format, and notes the format in the state. If it is interrupted, the next
// upgrade begins anew. It takes some minutes for a million accounts, and ends when ctx does.
func (s *Store) upgrade(ctx context.Context, o Options) error {
	began := time.Now()
	o.Log.Info("converting the buckets to this version's format", "format", currentFormat)
	i, p := newInspector(s.Users), newProgress(o.Log)
	steps := []func() error{
		func() error { return s.upgradeUsers(ctx, i, o, p) },
		func() error { return s.upgradeRosters(ctx, i, p) },
		func() error { return s.sweepTokens(ctx, i, p) },
		func() error {
			_, err := s.States.Update(ctx, func(state *State) error { state.Format = currentFormat; return nil })
			return err
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("kv: convert the buckets to format %d: %w", currentFormat, err)
		}
	}
	f := i.found
	o.Log.Info("converted the buckets to this version's format", "took", time.Since(began).Round(time.Millisecond), "users", f.Users, "accounts", f.Accounts,
		"names", f.Names, "rosters", f.Rosters, "friends", f.Friends, "tokens", f.Tokens, "attachments", f.Attachments, "unknown", f.Unknown)
	if i.disabled > 0 {
		o.Log.Info("some disabled accounts may be deleted accounts that came back: review imctl user list --disabled", "disabled", i.disabled)
	}
	return nil
}

func (s *Store) upgradeUsers(ctx context.Context, i *inspector, o Options, p *progress) error {
	return s.Users.b.evacuate(ctx, func(ctx context.Context, keys uint64) error {
		p.begin("reading users", keys)
		if err := i.survey(ctx, p.add); err != nil {
			return err
		}
		p.begin("moving users", keys)
		return nil
	}, func(ctx context.Context, entries []entry) ([]write, error) {
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
		p.add(entries)
		return writes, nil
	})
}

func (s *Store) upgradeRosters(ctx context.Context, i *inspector, p *progress) error {
	return s.Rosters.b.evacuate(ctx, func(_ context.Context, keys uint64) error {
		p.begin("moving rosters", keys)
		return nil
	}, func(ctx context.Context, entries []entry) (writes []write, err error) {
		rulings, err := i.inRosters(ctx, entries)
		for _, r := range rulings {
			if r.counter != nil {
				*r.counter += r.found
			}
			if r.keep && !r.deleted && !strings.HasPrefix(r.key, fillKey) {
				writes = append(writes, r.moved())
			}
		}
		p.add(entries)
		return writes, err
	})
}

// progressEvery is how often an upgrade says how far it is.
const progressEvery = 10 * time.Second

// progress says now and then how far an upgrade is.
type progress struct {
	log  *slog.Logger
	said time.Time
	step string
	done int
	keys uint64
}

func newProgress(log *slog.Logger) *progress { return &progress{log: log, said: time.Now()} }

func (p *progress) begin(step string, keys uint64) { p.step, p.done, p.keys = step, 0, keys }

func (p *progress) add(entries []entry) {
	if p.done += len(entries); time.Since(p.said) >= progressEvery {
		p.said = time.Now()
		p.log.Info("upgrade in progress", "step", p.step, "keys", p.done, "of", p.keys)
	}
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

// sweepTokens revokes the tokens of users that do not exist. No token is ever written twice, so none comes back.
func (s *Store) sweepTokens(ctx context.Context, i *inspector, p *progress) error {
	stream, err := s.Tokens.b.js.Stream(ctx, s.Tokens.b.stream())
	if err != nil {
		return err
	}
	p.begin("reading tokens", stream.CachedInfo().State.Msgs)
	return s.Tokens.b.pages(ctx, 0, func(entries []entry) error {
		rulings, err := i.inTokens(ctx, entries)
		for n := 0; err == nil && n < len(rulings); n++ {
			if r := rulings[n]; r.counter != nil {
				*r.counter += r.found
				err = s.Tokens.b.apply(ctx, r)
			}
		}
		p.add(entries)
		return err
	})
}

// evacuate writes what keep returns of each page of the bucket behind all there is, and removes all that was before.
// It first calls before, with the number of messages that will be read.
func (b *bucket) evacuate(ctx context.Context, before func(ctx context.Context, keys uint64) error, keep func(context.Context, []entry) ([]write, error)) error {
	stream, err := b.js.Stream(ctx, b.stream())
	if err != nil {
		return err
	}
	if stream.CachedInfo().State.LastSeq == 0 {
		return nil
	}
	filled, err := b.pad(ctx)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx) // with the filling
	if err != nil {
		return err
	}
	if err := before(ctx, info.State.Msgs); err != nil {
		return err
	}
	// Up to the filling and not to what was last before it: what another node wrote meanwhile is removed too.
	if err := b.moveAll(ctx, filled, keep); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bulkWait)
	defer cancel()
	return b.purgeAll(ctx, "", filled+1)
}

// moveAll writes what keep returns of each page up to that revision. It writes a batch while the next page is read.
func (b *bucket) moveAll(ctx context.Context, upTo uint64, keep func(context.Context, []entry) ([]write, error)) error {
	group, ctx := errgroup.WithContext(ctx)
	w := newBulkWriter(ctx, b, group)
	err := b.pages(ctx, upTo, func(entries []entry) error {
		writes, err := keep(ctx, entries)
		for n := 0; err == nil && n < len(writes); n++ {
			err = w.add(writes[n])
		}
		return err
	})
	if err == nil {
		err = w.flush()
	}
	close(w.batches)
	if sent := group.Wait(); sent != nil {
		return sent // err only says that it was given up then
	}
	return err
}

// pad writes padding of more than a block file, and returns the revision of its last message.
func (b *bucket) pad(ctx context.Context) (last uint64, err error) {
	size := int(min(fillMessage, b.nc.MaxPayload()*3/4))
	for written := 0; written < fillBytes; written += size {
		if last, err = b.write(ctx, putAt(fillKey+NewID(), make([]byte, size), 0)); err != nil {
			return 0, err
		}
	}
	return last, nil
}
