package kv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// A restore into running servers has two parts. It stages: it fills the set of buckets that is not in use. Staging does
// not affect the servers and may be abandoned at any moment. Then it commits: it marks in the state that the old
// contents are about to be removed. From then on a restore can only be completed, by this command or by a later one.

var (
	// ErrRestoreOvertaken: another restore began while this one was staging.
	ErrRestoreOvertaken = errors.New("another restore has begun")
	// ErrStagedDiffers: the staged records are not those of the backup.
	ErrStagedDiffers = errors.New("the staged records differ from the backup's")
)

// revisionGap is by how much the revisions of a staged bucket exceed those of the bucket that it replaces. The old
// bucket is written to until the commit. So a revision of the new bucket is always later than one of the old bucket,
// and a write that was prepared on the old bucket never finds the revision that it expects.
const revisionGap = 1 << 32

// Staging fills the set of buckets that is not in use with the records of another NATS server.
type Staging struct {
	o       Options
	id      string
	slot    string
	js      jetstream.JetStream
	states  *States
	source  *source
	started time.Time
	created map[string]time.Time // creation times of the staged streams
}

// Stage begins a restore: from the buckets in use on from, into the set of buckets that is not in use on to. It removes
// what an earlier restore left in that set. Another restore that is still staging there fails with ErrRestoreOvertaken.
//
// Errors: ErrNoState, ErrRestoreUnfinished.
func Stage(ctx context.Context, from, to *nats.Conn, o Options) (*Staging, error) {
	o = o.withDefaults()
	js, err := jetstream.New(to)
	if err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	s := &Staging{o: o, id: NewID(), js: js, started: now()}
	if s.source, err = openSource(ctx, from, o.Prefix); err != nil {
		return nil, err
	}
	if s.states, err = FindStates(ctx, js, o.Prefix); err != nil {
		return nil, err
	}
	state, err := s.states.Update(ctx, func(state *State) error {
		if state.Restore != nil {
			return ErrRestoreUnfinished
		}
		state.Staging = s.id
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.slot = OtherSlot(state.Slot)
	if err := s.clear(ctx); err != nil {
		return nil, err
	}
	return s, s.make(ctx, state.Slot)
}

// Slot returns the set of buckets that is filled.
func (s *Staging) Slot() string { return s.slot }

// clear removes the streams of the slot.
func (s *Staging) clear(ctx context.Context) error {
	return removeStreams(ctx, s.js, Streams(s.o.Prefix, s.slot)...)
}

func removeStreams(ctx context.Context, js jetstream.JetStream, streams ...string) error {
	for _, name := range streams {
		err := persist(ctx, func(ctx context.Context) error { return js.DeleteStream(ctx, name) })
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("kv: remove stream %s: %w", name, err)
		}
	}
	return nil
}

// make makes the streams of the slot. Their revisions begin above those of the slot in use.
func (s *Staging) make(ctx context.Context, inUse string) error {
	old, n := Streams(s.o.Prefix, inUse), namesOf(s.o.Prefix, s.slot)
	s.created = make(map[string]time.Time)
	for i, config := range []jetstream.StreamConfig{recordsConfig(n.users, s.o), tokensConfig(n.tokens, s.o), recordsConfig(n.friendships, s.o)} {
		config.FirstSeq = 1
		err := persist(ctx, func(ctx context.Context) error {
			was, err := s.js.Stream(ctx, old[i])
			if err == nil {
				config.FirstSeq = was.CachedInfo().State.LastSeq + revisionGap
			}
			return err
		})
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("kv: stage: stream %s: %w", old[i], err)
		}
		err = persist(ctx, func(ctx context.Context) error {
			made, err := createStream(ctx, s.js, config)
			if err == nil {
				s.created[config.Name] = made.CachedInfo().Created
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("kv: stage: make stream %s: %w", config.Name, err)
		}
	}
	return nil
}

// Fill copies accounts and rosters, and checks that the copies equal the originals. It copies no tokens, so all clients
// log in again. It calls progress with the number of records written so far, once for every eachPage records.
//
// Errors: ErrStagedDiffers.
func (s *Staging) Fill(ctx context.Context, progress func(records int)) (Contents, error) {
	n := namesOf(s.o.Prefix, s.slot)
	pairs := [2]struct {
		from, to *bucket
		want     Contents
		got      Contents
	}{{from: s.source.users, to: newBucket(s.js, n.users, s.o.Replicas)}, {from: s.source.rosters, to: newBucket(s.js, n.friendships, s.o.Replicas)}}
	group, gctx := errgroup.WithContext(ctx)
	counts := make(chan int)
	for i := range pairs {
		p := &pairs[i]
		group.Go(func() error {
			if err := s.copy(gctx, p.from, p.to, &p.want, counts); err != nil {
				return err
			}
			return s.check(gctx, p.to, p.want, &p.got)
		})
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		sum := 0
		for n := range counts {
			sum += n
			progress(sum)
		}
	}()
	err := group.Wait()
	close(counts)
	<-told
	if err != nil {
		return Contents{}, fmt.Errorf("kv: stage: %w", err)
	}
	all := pairs[0].got
	all.Records += pairs[1].got.Records
	return all, nil
}

// copy writes all records of a bucket to another one, in order.
func (s *Staging) copy(ctx context.Context, from, to *bucket, sum *Contents, counts chan<- int) error {
	group, ctx := errgroup.WithContext(ctx)
	w := newBulkWriter(ctx, to, group)
	unsaid := 0
	_, err := s.source.walk(ctx, from, func(e entry) error {
		sum.add(e)
		if unsaid++; unsaid == eachPage {
			counts <- unsaid
			unsaid = 0
		}
		return w.add(putAt(e.key, e.value, 0))
	})
	if err == nil {
		err = w.flush()
	}
	close(w.batches)
	if sent := group.Wait(); sent != nil {
		return sent // err is then only the cancellation
	}
	return err
}

// check reads the staged bucket and compares its contents with want.
func (s *Staging) check(ctx context.Context, b *bucket, want Contents, got *Contents) error {
	stream, err := s.js.Stream(ctx, b.stream())
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	if !stream.CachedInfo().Created.Equal(s.created[b.stream()]) {
		return ErrRestoreOvertaken
	}
	until := state.LastSeq
	if state.Msgs == 0 {
		until = 0
	}
	if err := b.each(ctx, until, func(e entry) error { got.add(e); return nil }); err != nil {
		return err
	}
	if *got != want {
		return fmt.Errorf("%w: %s has %d records, the backup %d", ErrStagedDiffers, b.stream(), got.Records, want.Records)
	}
	return nil
}

// Commit is the point of no return: it marks in the state that the staged buckets replace those in use. log names the
// stream that holds the restored event log, "" for none. backup is when the backup was made.
//
// Errors: ErrRestoreOvertaken.
func (s *Staging) Commit(ctx context.Context, backup time.Time, log string) error {
	_, err := s.states.Update(ctx, func(state *State) error {
		if state.Staging != s.id || OtherSlot(state.Slot) != s.slot {
			return ErrRestoreOvertaken
		}
		state.Staging = ""
		// From now on a start must not expect the old streams: it may find some of them deleted.
		for _, name := range Streams(s.o.Prefix, state.Slot) {
			delete(state.Streams, name)
		}
		if log != "" {
			delete(state.Streams, LogStream(s.o.Prefix))
			forgetConsumers(state, LogStream(s.o.Prefix))
		}
		state.Restore = &RestoreMark{Slot: s.slot, Started: s.started, Backup: backup, Format: s.source.state.Format, Log: log, Streams: s.created}
		return nil
	})
	return err
}

// Abandon removes the staged buckets and the other streams of this restore. It must not be called after Commit. If
// another restore has begun since, Abandon leaves everything alone.
func (s *Staging) Abandon(ctx context.Context, others ...string) error {
	_, err := s.states.Update(ctx, func(state *State) error {
		if state.Staging != s.id {
			return ErrRestoreOvertaken
		}
		state.Staging = ""
		return nil
	})
	if errors.Is(err, ErrRestoreOvertaken) {
		return nil // the staged buckets belong to the other restore
	}
	return errors.Join(err, s.clear(ctx), removeStreams(ctx, s.js, others...))
}
