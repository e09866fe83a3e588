package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

// Buckets of format 0 were written without the rules of kinds.go. Their block files have older messages of keys that
// were purged or have expired since, and a rebuild of the index may bring them back. Until then the messages are
// invisible. So an upgrade writes every valid key again, after all existing messages, and then purges everything
// before, which makes the server remove the old block files.

const (
	paddingPrefix = "fill." // of keys
	// paddingBytes is the size of the padding before the first new key. It exceeds the largest block file of
	// nats-server, 8 MiB, so that no block file has both an older message and a new one.
	paddingBytes = 9 << 20
	// paddingMessageBytes bounds a message of the padding.
	paddingMessageBytes = 768 << 10
)

// withWait returns the context for all parts of Open except an upgrade.
func (opts Options) withWait(ctx context.Context) (context.Context, context.CancelFunc) {
	if opts.Wait == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, opts.Wait)
}

// upgrade converts the buckets from a format to the current one, and writes the format to the state. If it is
// interrupted, the next start upgrades from the beginning. It takes some minutes for a million accounts.
func (s *Store) upgrade(ctx context.Context, from int, opts Options) error {
	start := time.Now()
	opts.Log.Info("converting the buckets to this version's format", "format", currentFormat)
	finder, p := newOrphanFinder(s.Users), newProgress(opts.Log)
	var rewrite []func() error
	if from < 1 {
		rewrite = []func() error{
			func() error { return s.upgradeUsers(ctx, finder, opts, p) },
			func() error { return s.upgradeRosters(ctx, finder, p) },
			func() error { return s.sweepTokens(ctx, finder, p) },
		}
	}
	steps := slices.Concat([]func() error{func() error { return s.upgradeFold(ctx, p) }}, rewrite, []func() error{
		func() error { return s.claimLooks(ctx, p) },
		func() error {
			_, err := s.States.Update(ctx, func(state *State) error { state.Format = currentFormat; return nil })
			return err
		},
	})
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("kv: convert the buckets to format %d: %w", currentFormat, err)
		}
	}
	found := finder.found
	opts.Log.Info("converted the buckets to this version's format", "took", time.Since(start).Round(time.Millisecond), "users", found.Users, "accounts", found.Accounts,
		"looks", found.Looks, "names", found.Names, "rosters", found.Rosters, "friends", found.Friends, "tokens", found.Tokens, "attachments", found.Attachments, "unknown", found.Unknown)
	if finder.disabled > 0 {
		opts.Log.Info("some disabled accounts may be deleted accounts that came back: review imctl user list --disabled", "disabled", finder.disabled)
	}
	return nil
}

// upgradeUsers converts the bucket of users.
func (s *Store) upgradeUsers(ctx context.Context, f *orphanFinder, opts Options, p *progress) error {
	return s.Users.b.rewrite(ctx, func(ctx context.Context, keys uint64) error {
		p.begin("reading users", keys)
		if err := f.readUsers(ctx, p.add); err != nil {
			return err
		}
		p.begin("moving users", keys)
		return nil
	}, func(ctx context.Context, entries []entry) ([]write, error) {
		decisions, err := f.checkUserKeys(ctx, entries)
		if err != nil {
			return nil, err
		}
		var writes []write
		for _, r := range decisions {
			w, keep, err := s.upgradeUsersKey(ctx, r, f, opts)
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

// upgradeRosters converts the bucket of friendships.
func (s *Store) upgradeRosters(ctx context.Context, f *orphanFinder, p *progress) error {
	return s.Rosters.b.rewrite(ctx, func(_ context.Context, keys uint64) error {
		p.begin("moving rosters", keys)
		return nil
	}, func(ctx context.Context, entries []entry) (writes []write, err error) {
		decisions, err := f.checkRosters(ctx, entries)
		for _, r := range decisions {
			if r.counter != nil {
				*r.counter += r.count
			}
			if r.keep && !r.deleted && !strings.HasPrefix(r.key, paddingPrefix) {
				writes = append(writes, r.rewrite())
			}
		}
		p.add(entries)
		return writes, err
	})
}

// progressInterval is how often an upgrade logs its progress.
const progressInterval = 10 * time.Second

// progress logs the progress of an upgrade.
type progress struct {
	log    *slog.Logger
	logged time.Time
	step   string
	done   int    // keys of the step
	keys   uint64 // of the step, in total
}

func newProgress(log *slog.Logger) *progress { return &progress{log: log, logged: time.Now()} }

// begin begins a step.
func (p *progress) begin(step string, keys uint64) { p.step, p.done, p.keys = step, 0, keys }

// add counts entries of the step as done.
func (p *progress) add(entries []entry) {
	if p.done += len(entries); time.Since(p.logged) >= progressInterval {
		p.logged = time.Now()
		p.log.Info("upgrade in progress", "step", p.step, "keys", p.done, "of", p.keys)
	}
}

// rewrite returns the write that moves a key behind all others.
func (d decision) rewrite() write {
	w := putAt(d.key, d.value, d.revision)
	if d.want != nil {
		w.value = d.want
	}
	w.rewrites = true
	return w
}

// upgradeUsersKey decides whether a key of the bucket of users is kept, and returns the write that keeps it.
func (s *Store) upgradeUsersKey(ctx context.Context, r decision, f *orphanFinder, opts Options) (w write, keep bool, err error) {
	kind, rest, _ := strings.Cut(r.key, ".")
	switch {
	case r.deleted, kind == "reset", kind == "work", kind+"." == paddingPrefix: // reset codes expire in minutes; users request new ones
		return w, false, nil
	case r.counter != nil:
		*r.counter += r.count
		return w, false, nil
	case kind == "attach":
		return s.upgradeAttachment(ctx, r, f, opts)
	case kind == "node" && !strings.Contains(rest, "."):
		return putAt(nodeKey(rest, NewID()[:16]), r.value, 0), true, nil
	}
	return r.rewrite(), true, nil
}

// upgradeAttachment keeps an attachment whose consumer exists. Any other attachment may have been removed and have
// come back, so the administrator must add it again.
func (s *Store) upgradeAttachment(ctx context.Context, r decision, f *orphanFinder, opts Options) (w write, keep bool, err error) {
	record, err := decodeAttachment(r.entry)
	if err != nil {
		return w, false, err
	}
	if !record.Confirmed && record.Role.HasConsumer() && record.SecretHash != "" {
		_, err := s.Users.b.js.Consumer(ctx, subject.Prefix(opts.Prefix).LogStream(), record.Name)
		switch {
		case err == nil:
			record.Confirmed = true
		case !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound):
			return w, false, err
		}
	}
	if !record.Confirmed {
		f.found.Attachments++
		opts.Log.Warn("removed an attachment that an older version may have removed already; to keep it, add it again: "+
			"imctl attach add "+record.Name+" --role "+string(record.Role), "attachment", record.Name, "role", record.Role)
		return w, false, nil
	}
	if r.want, err = json.Marshal(record); err != nil {
		return w, false, err
	}
	return r.rewrite(), true, nil
}

// sweepTokens revokes the tokens of users that do not exist. No token is written twice, so none comes back.
func (s *Store) sweepTokens(ctx context.Context, f *orphanFinder, p *progress) error {
	stream, err := s.Tokens.b.js.Stream(ctx, s.Tokens.b.stream())
	if err != nil {
		return err
	}
	p.begin("reading tokens", stream.CachedInfo().State.Msgs)
	return s.Tokens.b.pages(ctx, 0, func(entries []entry) error {
		decisions, err := f.checkTokens(ctx, entries)
		for n := 0; err == nil && n < len(decisions); n++ {
			if r := decisions[n]; r.counter != nil {
				*r.counter += r.count
				err = s.Tokens.b.apply(ctx, r)
			}
		}
		p.add(entries)
		return err
	})
}

// rewrite writes what keep returns for each page of the bucket after all existing messages, and removes those. It
// first calls before with the number of messages that it is going to read.
func (b *bucket) rewrite(ctx context.Context, before func(ctx context.Context, keys uint64) error, keep func(context.Context, []entry) ([]write, error)) error {
	stream, err := b.js.Stream(ctx, b.stream())
	if err != nil {
		return err
	}
	if stream.CachedInfo().State.LastSeq == 0 {
		return nil
	}
	padding, err := b.pad(ctx)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx) // with the padding
	if err != nil {
		return err
	}
	if err := before(ctx, info.State.Msgs); err != nil {
		return err
	}
	// It reads up to the padding, and not up to the last message before it, since the purge also removes what another
	// node has written meanwhile.
	if err := b.rewriteUntil(ctx, padding, keep); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	return b.purgeSubjects(ctx, "", padding+1)
}

// rewriteUntil writes what keep returns for each page up to a revision.
func (b *bucket) rewriteUntil(ctx context.Context, upTo uint64, keep func(context.Context, []entry) ([]write, error)) error {
	return writeBulk(ctx, []*bucket{b}, func(ctx context.Context, writers []*bulkWriter) error {
		return b.pages(ctx, upTo, func(entries []entry) error {
			writes, err := keep(ctx, entries)
			for n := 0; err == nil && n < len(writes); n++ {
				err = writers[0].add(writes[n])
			}
			return err
		})
	})
}

// pad writes padding of more than a block file, and returns the revision of its last message.
func (b *bucket) pad(ctx context.Context) (last uint64, err error) {
	size := int(min(paddingMessageBytes, b.nc.MaxPayload()*3/4))
	for written := 0; written < paddingBytes; written += size {
		if last, err = b.write(ctx, putAt(paddingPrefix+NewID(), make([]byte, size), 0)); err != nil {
			return 0, err
		}
	}
	return last, nil
}
