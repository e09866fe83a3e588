package kv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
)

// Adopt adapts the state to the streams of a restored data directory, and returns it. It creates a state if the
// backup has none. The state then expects the streams of its slot, and those of others, and those of conversations and
// of files that exist, with their present creation times. It marks no restore. A server can then open the buckets.
//
// Errors: ErrStreamMismatch, ErrStagedDiffers if a bucket is missing, ErrConflict.
func Adopt(ctx context.Context, nc *nats.Conn, opts Options, others ...string) (State, error) {
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return State{}, fmt.Errorf("kv: %w", err)
	}
	states, err := openStates(ctx, js, opts)
	if err != nil {
		return State{}, err
	}
	state, err := states.Get(ctx)
	if err != nil {
		return State{}, err
	}
	created := make(map[string]time.Time)
	needed := subject.Prefix(opts.Prefix).Buckets(state.Slot).Streams()
	others = append(slices.Clone(others), subject.Prefix(opts.Prefix).TalkStream(), subject.Prefix(opts.Prefix).FileStream())
	for _, name := range slices.Concat(needed, others) {
		s, err := js.Stream(ctx, name)
		switch {
		case err == nil:
			created[name] = s.CachedInfo().Created
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return State{}, fmt.Errorf("kv: adopt stream %s: %w", name, err)
		case slices.Contains(needed, name):
			return State{}, fmt.Errorf("kv: adopt stream %s: %w: it is missing", name, ErrStagedDiffers)
		}
	}
	return states.Update(ctx, func(s *State) error {
		s.Streams, s.Restore, s.Staging = created, nil, ""
		return nil
	})
}

// NoteNodes copies the list of nodes from the buckets that a marked restore replaces to its mark, and returns the ids
// of all nodes that must be informed of the restore.
//
// Errors: ErrConflict.
func (s *States) NoteNodes(ctx context.Context, mark RestoreMark) ([]string, error) {
	listed := &Nodes{newBucket(s.b.js, subject.Prefix(s.prefix).Buckets(subject.OtherSlot(mark.Slot)).Users, 1)}
	var ids []string
	err := retryTransient(ctx, func(ctx context.Context) (err error) {
		ids, err = listed.IDs(ctx)
		return err
	})
	if hasCode(err, jetstream.JSErrCodeStreamNotFound) {
		return mark.Nodes, nil
	}
	if err != nil {
		return nil, err
	}
	ids = append(ids, mark.Nodes...)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	_, err = s.Update(ctx, func(state *State) error {
		if state.Restore != nil {
			mark := *state.Restore
			mark.Nodes, state.Restore = ids, &mark
		}
		return nil
	})
	return ids, err
}

// RemoveReplaced removes the buckets that a marked restore replaces. No write to them succeeds afterwards. A missing
// bucket is no error.
//
// Errors: only those of NATS and ctx.
func (s *States) RemoveReplaced(ctx context.Context, mark RestoreMark) error {
	return removeStreams(ctx, s.b.js, subject.Prefix(s.prefix).Buckets(subject.OtherSlot(mark.Slot)).Streams()...)
}

// StreamRestored notes in the state that a stream of a marked restore is restored: the event log, the conversations or
// the files. The state expects no conversations, and no files, if there is no stream of them: the backup has none.
//
// Errors: ErrConflict, and NATS's own if the event log is missing.
func (s *States) StreamRestored(ctx context.Context, name string) error {
	isLog := name == subject.Prefix(s.prefix).LogStream()
	var created time.Time
	stream, err := s.b.js.Stream(ctx, name)
	switch {
	case err == nil:
		created = stream.CachedInfo().Created
	case isLog || !errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("kv: restored stream %s: %w", name, err)
	}
	_, err = s.Update(ctx, func(state *State) error {
		if state.Restore == nil {
			return nil
		}
		mark := *state.Restore
		switch state.Restore = &mark; {
		case isLog:
			mark.Log = ""
		case name == subject.Prefix(s.prefix).FileStream():
			mark.Files = ""
		default:
			mark.Talks = ""
		}
		if !created.IsZero() {
			state.Streams[name] = created
		}
		forgetConsumers(state, name) // of the replaced stream; nodes note the new ones
		return nil
	})
	return err
}

// forgetConsumers makes the state expect no consumers of a stream.
func forgetConsumers(state *State, stream string) {
	maps.DeleteFunc(state.Streams, func(name string, _ time.Time) bool { return strings.HasPrefix(name, stream+"/") })
}

// FinishRestore puts the staged buckets of a marked restore into use, and returns the new state. Without a mark it
// changes nothing.
//
// Errors: ErrConflict.
func (s *States) FinishRestore(ctx context.Context) (State, error) {
	return s.Update(ctx, func(state *State) error {
		mark := state.Restore
		if mark == nil {
			return nil // another command has finished the restore
		}
		for name, created := range mark.Streams {
			state.Streams[name] = created
		}
		state.Format, state.Slot, state.Restore = mark.Format, mark.Slot, nil
		return nil
	})
}

// InUse reports whether the store uses the buckets that the state names.
func (s *Store) InUse(state State) bool {
	own := s.state.Load()
	if own.Slot != state.Slot {
		return false
	}
	return !slices.ContainsFunc(subject.Prefix(s.States.prefix).Buckets(state.Slot).Streams(), func(name string) bool {
		return !own.Streams[name].Equal(state.Streams[name])
	})
}

// SwitchTo makes the store use the buckets that the state names, from the next call on. A call in progress may fail.
// It cannot overwrite a record that it has not read, since the revisions of the two sets differ.
//
// Errors: ErrStreamMismatch, and NATS's own if a bucket is missing.
func (s *Store) SwitchTo(ctx context.Context, state State) error {
	n, js := subject.Prefix(s.opts.Prefix).Buckets(state.Slot), s.Users.b.js
	replicas := make(map[string]int)
	for _, config := range []jetstream.StreamConfig{recordsConfig(n.Users, s.opts), tokensConfig(n.Tokens, s.opts), recordsConfig(n.Friendships, s.opts)} {
		if _, err := js.Stream(ctx, config.Name); err != nil { // EnsureStream would create it
			return fmt.Errorf("kv: bucket of %s: %w", config.Name, err)
		}
		have, err := EnsureStream(ctx, js, config, bucketRules, s.opts.Log)
		if err != nil {
			return fmt.Errorf("kv: bucket of %s: %w", config.Name, err)
		}
		replicas[config.Name] = have.Replicas
	}
	s.Users.b.relocate(n.Users, replicas[subject.BucketStream(n.Users)])
	s.Tokens.b.relocate(n.Tokens, replicas[subject.BucketStream(n.Tokens)])
	s.Rosters.b.relocate(n.Friendships, replicas[subject.BucketStream(n.Friendships)])
	if err := s.upgradeRestored(ctx, state); err != nil {
		return err
	}
	s.state.Store(&state)
	return nil
}

// upgradeRestored converts restored buckets of format 1. Those of format 0 stay until the next start, since no other
// node may serve meanwhile.
func (s *Store) upgradeRestored(ctx context.Context, state State) error {
	if state.Format != 1 {
		return nil
	}
	p := newProgress(s.opts.Log)
	for _, step := range []func(context.Context, *progress) error{s.upgradeFold, s.claimLooks} {
		if err := step(ctx, p); err != nil {
			return fmt.Errorf("kv: convert the restored buckets to format %d: %w", currentFormat, err)
		}
	}
	_, err := s.States.Update(ctx, func(now *State) error {
		if now.Slot == state.Slot && now.Restore == nil && now.Format == 1 {
			now.Format = currentFormat
		}
		return nil
	})
	return err
}
