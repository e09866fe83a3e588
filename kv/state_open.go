package kv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

// LostError has the names of the streams, and of the consumers as STREAM/CONSUMER, that must exist but are missing or
// were created again.
type LostError struct {
	Names []string // sorted
}

func (e *LostError) Error() string {
	return "missing, or created again since the last start: " + strings.Join(e.Names, ", ")
}

// accepts reports whether accepted contains name or, if name is a consumer, its stream.
func accepts(accepted []string, name string) bool {
	stream, _, _ := strings.Cut(name, "/")
	return slices.Contains(accepted, name) || slices.Contains(accepted, stream)
}

// lost returns the expected names that are missing or were created at another time, sorted. It leaves out accepted
// names.
func lost(ctx context.Context, js jetstream.JetStream, expected map[string]time.Time, accepted []string) ([]string, error) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		if accepts(accepted, name) {
			continue
		}
		created, err := createdAt(ctx, js, name)
		switch {
		case isMissing(err):
			names = append(names, name)
		case err != nil:
			return nil, fmt.Errorf("look for %s: %w", name, err)
		case !created.Equal(expected[name]):
			names = append(names, name)
		}
	}
	return names, nil
}

// openCheckedState opens the bucket of the state and returns the state. It creates nothing before it knows that all
// streams that must exist do exist and that no restore must be completed.
//
// Errors: *LostError, ErrRestoreUnfinished, ErrStreamMismatch.
func openCheckedState(ctx context.Context, js jetstream.JetStream, opts Options) (*States, State, error) {
	var states *States
	var state State
	// While the stream has no leader, NATS answers neither request.
	err := retryTransient(ctx, func(ctx context.Context) (err error) {
		if states, err = FindStates(ctx, js, opts.Prefix); err == nil {
			state, err = states.Get(ctx)
		}
		return err
	})
	expected := opts.Expected
	switch {
	case errors.Is(err, ErrNoState): // only the caller knows which streams must exist
	case err != nil:
		return nil, State{}, err
	default:
		expected = maps.Clone(state.Streams)
		delete(expected, subject.Prefix(opts.Prefix).StateStream()) // a restored state has the creation time of the stream in the backup
	}
	if state.Restore != nil {
		return nil, State{}, fmt.Errorf("kv: %w: %s", ErrRestoreUnfinished, state.Restore)
	}
	var missing []string
	err = retryTransient(ctx, func(ctx context.Context) (err error) {
		missing, err = lost(ctx, js, expected, opts.AcceptLoss)
		return err
	})
	if err != nil {
		return nil, State{}, fmt.Errorf("kv: %w", err)
	}
	if len(missing) > 0 {
		return nil, State{}, &LostError{Names: missing}
	}
	isNew := states == nil
	if states, err = openStates(ctx, js, opts); err != nil {
		return nil, State{}, err
	}
	if isNew {
		err = retryTransient(ctx, func(ctx context.Context) (err error) {
			state.Format, err = firstFormat(ctx, js, opts.Prefix)
			return err
		})
		if err != nil {
			return nil, State{}, fmt.Errorf("kv: %w", err)
		}
	}
	format := state.Format
	err = retryTransient(ctx, func(ctx context.Context) (err error) {
		state, err = states.Update(ctx, func(s *State) error {
			s.Format = max(s.Format, format)
			maps.DeleteFunc(s.Streams, func(name string, _ time.Time) bool { return accepts(opts.AcceptLoss, name) })
			return nil
		})
		return err
	})
	return states, state, err
}

// firstFormat returns the format of the buckets while no state exists: 0 if any of them exists, else the current one.
func firstFormat(ctx context.Context, js jetstream.JetStream, prefix string) (int, error) {
	for _, name := range subject.Prefix(prefix).Buckets("").Streams() {
		_, err := findStream(ctx, js, name)
		if err == nil {
			return 0, nil
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return 0, fmt.Errorf("look for stream %s: %w", name, err)
		}
	}
	return currentFormat, nil
}
