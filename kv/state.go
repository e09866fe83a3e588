package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

// currentFormat is the format of the records that this version writes. Versions without a state wrote format 0, in
// which deleted keys may have come back. Format 1 has no claims of looks.
const currentFormat = 2

// State is what all servers of one prefix know about their streams. It is one record, so that it changes as a whole:
// a restore puts other buckets into use with one write.
type State struct {
	Format int `json:"format"` // of the records in the buckets
	// Slot is the set of buckets in use: "" for <prefix>_users and so on, "b" for <prefix>_users_b. A restore fills the
	// other set before it puts it into use.
	Slot string `json:"slot,omitempty"`
	// Streams maps each stream that must exist, by name, and each durable consumer that must exist, as STREAM/CONSUMER,
	// to its creation time. If one is missing or was created at another time, its contents are lost.
	Streams map[string]time.Time `json:"streams"`
	// Staging is the id of the restore that fills the set of buckets not in use, "" for none. A later restore replaces
	// it.
	Staging string `json:"staging,omitempty"`
	// Restore is set from the point of no return of a restore until its end.
	Restore *RestoreMark `json:"restore,omitempty"`
}

// RestoreMark describes a restore that must be completed before the buckets may be used.
type RestoreMark struct {
	Slot    string    `json:"slot"`    // the set of buckets that the restore puts into use
	Started time.Time `json:"started"` // when the restore began
	Backup  time.Time `json:"backup"`  // when the backup was created
	Format  int       `json:"format"`  // of the restored records
	// Log is the name of the stream with the restored event log. It is "" once the event log is restored.
	Log string `json:"log,omitempty"`
	// Talks is the name of the stream with the restored conversations. It is "" once they are restored.
	Talks string `json:"talks,omitempty"`
	// Files is the name of the stream with the restored files. It is "" once they are restored.
	Files   string               `json:"files,omitempty"`
	Streams map[string]time.Time `json:"streams"`         // the streams of the slot, with their creation times
	Nodes   []string             `json:"nodes,omitempty"` // ids of the nodes to inform, noted before their list is removed
}

// String returns the times that identify the restore.
func (m RestoreMark) String() string {
	return fmt.Sprintf("it began at %s, with the backup of %s", m.Started.Format(time.RFC3339), m.Backup.Format(time.RFC3339))
}

// States is the bucket of the state. It has one key.
type States struct {
	b        *bucket
	prefix   string
	remember func(streams map[string]time.Time) error // Options.Remember; may be nil

	remembering sync.Mutex // held while remember is called
	remembered  uint64     // revision of the state that remember was called with last; guarded by remembering
}

const stateKey = "state"

// OpenStates opens the bucket of the state, and creates it if it is missing.
//
// Errors: ErrStreamMismatch.
func openStates(ctx context.Context, js jetstream.JetStream, opts Options) (*States, error) {
	opts = opts.withDefaults()
	name := subject.Prefix(opts.Prefix).StateBucket()
	have, err := EnsureStream(ctx, js, bucketConfig(name, opts), bucketRules, opts.Log)
	if err != nil {
		return nil, fmt.Errorf("kv: bucket %s: %w", name, err)
	}
	return &States{b: newBucket(js, name, have.Replicas), prefix: opts.Prefix, remember: opts.Remember}, nil
}

// FindStates returns the existing bucket of the state, and does not change its configuration.
//
// Errors: ErrNoState.
func FindStates(ctx context.Context, js jetstream.JetStream, prefix string) (*States, error) {
	name := subject.Prefix(prefix).StateBucket()
	s, err := findStream(ctx, js, subject.BucketStream(name))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("kv: bucket %s: %w", name, ErrNoState)
	}
	if err != nil {
		return nil, fmt.Errorf("kv: bucket %s: %w", name, err)
	}
	return &States{b: newBucket(js, name, s.CachedInfo().Config.Replicas), prefix: prefix}, nil
}

// Get returns the state from the stream's leader, or the zero State if none is written yet.
//
// Errors: those of Options.Remember, NATS and ctx.
func (s *States) Get(ctx context.Context) (State, error) {
	state, revision, err := s.read(ctx)
	if err == nil {
		err = s.rememberOnce(state, revision)
	}
	if err != nil {
		return State{}, fmt.Errorf("kv: read the state: %w", err)
	}
	return state, nil
}

// rememberOnce calls remember with the streams of the state, unless it was called with those of this state or a later
// one.
func (s *States) rememberOnce(state State, revision uint64) error {
	if s.remember == nil {
		return nil
	}
	s.remembering.Lock()
	defer s.remembering.Unlock()
	if revision <= s.remembered {
		return nil
	}
	if err := s.remember(state.Streams); err != nil {
		return err
	}
	s.remembered = revision
	return nil
}

// read returns the state and its revision, which is 0 if no state is written yet.
func (s *States) read(ctx context.Context) (State, uint64, error) {
	e, err := s.b.getLeader(ctx, stateKey)
	if errors.Is(err, errKeyNotFound) {
		return State{}, 0, nil
	}
	if err != nil {
		return State{}, 0, err
	}
	var state State
	if err := json.Unmarshal(e.value, &state); err != nil {
		return State{}, 0, fmt.Errorf("the state at revision %d of %s is damaged: %w", e.revision, s.b.stream(), err)
	}
	return state, e.revision, nil
}

// Update calls change with the state, stores the result and returns it. After a conflict it calls change again with the
// new state. An error of change ends the update and is returned. An unchanged state is not written.
//
// Errors: ErrConflict, and those of change and Options.Remember.
func (s *States) Update(ctx context.Context, change func(*State) error) (State, error) {
	var state State
	var written uint64
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		before, revision, err := s.read(ctx)
		if err != nil {
			return err
		}
		state, written = before, revision
		state.Streams = maps.Clone(before.Streams)
		if state.Streams == nil {
			state.Streams = make(map[string]time.Time)
		}
		if err := change(&state); err != nil {
			return err
		}
		oldRecord, err := json.Marshal(before)
		if err != nil {
			return err
		}
		record, err := json.Marshal(state)
		if err != nil {
			return err
		}
		if revision > 0 && bytes.Equal(oldRecord, record) {
			return nil
		}
		written, err = s.b.write(ctx, putAt(stateKey, record, revision))
		return err
	})
	if err == nil {
		err = s.rememberOnce(state, written)
	}
	if err != nil {
		return State{}, fmt.Errorf("kv: update the state: %w", err)
	}
	return state, nil
}

// Expect notes in the state that streams and durable consumers must exist, with their creation times, and returns the
// new state. A later start fails without them. A consumer is named STREAM/CONSUMER.
//
// Errors: ErrConflict, and NATS's own if a stream or consumer is missing.
func (s *States) Expect(ctx context.Context, names ...string) (State, error) {
	return s.expect(ctx, func(State) error { return nil }, names...)
}

// errSlotChanged: a restore has put another set of buckets into use.
var errSlotChanged = errors.New("other buckets are in use")

// expectSlot is Expect for the state and the streams of a slot. It fails if another slot is in use: a start that a
// restore has overtaken must not expect the replaced streams.
//
// Errors: errSlotChanged, ErrRestoreUnfinished.
func (s *States) expectSlot(ctx context.Context, slot string) (State, error) {
	return s.expect(ctx, func(state State) error {
		switch {
		case state.Restore != nil:
			return fmt.Errorf("%w: %s", ErrRestoreUnfinished, state.Restore)
		case state.Slot != slot:
			return errSlotChanged
		}
		return nil
	}, append(subject.Prefix(s.prefix).Buckets(slot).Streams(), subject.Prefix(s.prefix).StateStream())...)
}

// maxExpectAttempts bounds how often expect looks for a stream.
const maxExpectAttempts = 6

// expect is Expect, and calls check with the state before it writes. An error of check ends it and is returned.
func (s *States) expect(ctx context.Context, check func(State) error, names ...string) (State, error) {
	created := make(map[string]time.Time, len(names))
	for _, name := range names {
		t, err := createdAt(ctx, s.b.js, name)
		// The server of a cluster that answers may not know yet what another one has just created.
		for n := 1; isMissing(err) && n < maxExpectAttempts && sleep(ctx, 25*time.Millisecond<<n) == nil; n++ {
			t, err = createdAt(ctx, s.b.js, name)
		}
		if err != nil {
			return State{}, fmt.Errorf("kv: expect %s: %w", name, err)
		}
		created[name] = t
	}
	return s.Update(ctx, func(state *State) error {
		if err := check(*state); err != nil {
			return err
		}
		maps.Copy(state.Streams, created)
		return nil
	})
}

// Forget removes what Expect noted. It must be called before a stream or a consumer is deleted on purpose.
//
// Errors: ErrConflict.
func (s *States) Forget(ctx context.Context, names ...string) error {
	_, err := s.Update(ctx, func(state *State) error {
		for _, name := range names {
			delete(state.Streams, name)
		}
		return nil
	})
	return err
}

// createdAt returns when a stream or a durable consumer, as STREAM/CONSUMER, was created. It waits for a cluster that
// is starting. If the stream or consumer is missing, isMissing holds for the error.
func createdAt(ctx context.Context, js jetstream.JetStream, name string) (created time.Time, err error) {
	stream, consumer, isConsumer := strings.Cut(name, "/")
	err = retryTransient(ctx, func(ctx context.Context) error {
		if isConsumer {
			c, err := js.Consumer(ctx, stream, consumer)
			if err == nil {
				created = c.CachedInfo().Created
			}
			return err
		}
		s, err := js.Stream(ctx, stream)
		if err == nil {
			created = s.CachedInfo().Created
		}
		return err
	})
	return created, err
}

// isMissing reports whether err says that a stream or a consumer does not exist.
func isMissing(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)
}
