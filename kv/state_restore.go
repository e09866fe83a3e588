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
)

// Adopt makes the state fit the streams of a restored data directory, and makes a state if the backup has none. The state
// then expects the streams of its slot, and those of others that exist, with their present creation times, and no
// restore is marked. A server can then open the buckets.
//
// Errors: ErrStreamMismatch, and ErrStagedDiffers if a bucket is missing.
func Adopt(ctx context.Context, nc *nats.Conn, o Options, others ...string) (State, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return State{}, fmt.Errorf("kv: %w", err)
	}
	states, err := OpenStates(ctx, js, o)
	if err != nil {
		return State{}, err
	}
	state, err := states.Get(ctx)
	if err != nil {
		return State{}, err
	}
	created := make(map[string]time.Time)
	needed := Streams(o.Prefix, state.Slot)
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

// NoteNodes copies the list of nodes from the buckets that a marked restore replaces to its mark, and returns all nodes
// that must be told of the restore.
func (s *States) NoteNodes(ctx context.Context, mark RestoreMark) ([]string, error) {
	listed := &Nodes{newBucket(s.b.js, namesOf(s.prefix, OtherSlot(mark.Slot)).users, 1)}
	var ids []string
	err := persist(ctx, func(ctx context.Context) (err error) {
		ids, err = listed.IDs(ctx)
		return err
	})
	var apiErr *jetstream.APIError
	if errors.As(err, &apiErr) && apiErr.ErrorCode == jetstream.JSErrCodeStreamNotFound {
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

// RemoveReplaced removes the buckets that a marked restore replaces. No write to them succeeds afterwards.
func (s *States) RemoveReplaced(ctx context.Context, mark RestoreMark) error {
	return removeStreams(ctx, s.b.js, Streams(s.prefix, OtherSlot(mark.Slot))...)
}

// LogRestored notes in the state that stream holds the event log of a marked restore.
func (s *States) LogRestored(ctx context.Context, stream string) error {
	made, err := s.b.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("kv: restored log %s: %w", stream, err)
	}
	_, err = s.Update(ctx, func(state *State) error {
		if state.Restore != nil {
			mark := *state.Restore
			mark.Log, state.Restore = "", &mark
			state.Streams[stream] = made.CachedInfo().Created
			forgetConsumers(state, stream) // those of the replaced log; nodes note the new ones
		}
		return nil
	})
	return err
}

// forgetConsumers removes the notes that consumers of a stream must exist.
func forgetConsumers(state *State, stream string) {
	maps.DeleteFunc(state.Streams, func(name string, _ time.Time) bool { return strings.HasPrefix(name, stream+"/") })
}

// Finish puts the staged buckets of a marked restore into use.
func (s *States) Finish(ctx context.Context) (State, error) {
	return s.Update(ctx, func(state *State) error {
		mark := state.Restore
		if mark == nil {
			return nil // another command has finished it
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
	mine := s.state.Load()
	if mine.Slot != state.Slot {
		return false
	}
	return !slices.ContainsFunc(Streams(s.States.prefix, state.Slot), func(name string) bool {
		return !mine.Streams[name].Equal(state.Streams[name])
	})
}

// Use makes the store use the buckets that the state names, from the next call on. A call that is under way may fail. It
// can't overwrite a record that it has not read, since the revisions of the two sets differ.
//
// Errors: ErrStreamMismatch.
func (s *Store) Use(ctx context.Context, state State) error {
	n, js := namesOf(s.o.Prefix, state.Slot), s.Users.b.js
	replicas := make(map[string]int)
	for _, config := range []jetstream.StreamConfig{recordsConfig(n.users, s.o), tokensConfig(n.tokens, s.o), recordsConfig(n.friendships, s.o)} {
		if _, err := js.Stream(ctx, config.Name); err != nil { // EnsureStream would make a missing one
			return fmt.Errorf("kv: bucket of %s: %w", config.Name, err)
		}
		have, err := EnsureStream(ctx, js, config, bucketRules, s.o.Log)
		if err != nil {
			return fmt.Errorf("kv: bucket of %s: %w", config.Name, err)
		}
		replicas[config.Name] = have.Replicas
	}
	s.Users.b.move(n.users, replicas[streamOf(n.users)])
	s.Tokens.b.move(n.tokens, replicas[streamOf(n.tokens)])
	s.Rosters.b.move(n.friendships, replicas[streamOf(n.friendships)])
	s.state.Store(&state)
	return nil
}
