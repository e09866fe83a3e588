package kv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
)

// A restore into running servers has two parts. First it stages: it fills the set of buckets that is not in use.
// Staging does not affect the servers and may be abandoned at any time. Then it commits: it marks in the state that
// the old contents are about to be removed. From then on the restore can only be completed, by this command or by a
// later one.

var (
	// ErrRestoreOvertaken: another restore began while this one was staging.
	ErrRestoreOvertaken = errors.New("another restore has begun")
	// ErrStagedDiffers: the staged records are not those of the backup.
	ErrStagedDiffers = errors.New("the staged records differ from the backup's")
)

const (
	// revisionGap is by how much the revisions of a staged bucket exceed those of the bucket that it replaces. The
	// old bucket is written to until the commit. So a revision of the new bucket is always later than one of the old
	// bucket, and a write that was prepared on the old bucket never finds the revision that it expects.
	revisionGap = 1 << 32
	// progressRecords is how many records are written between two calls of Fill's progress.
	progressRecords = 4096
)

// Staging fills the set of buckets that is not in use with the records of another NATS server.
type Staging struct {
	opts    Options
	id      string
	slot    string
	js      jetstream.JetStream
	states  *States
	source  *source
	started time.Time
	created map[string]time.Time // creation times of the staged streams
}

// Stage begins a restore from the buckets in use on from, into the set of buckets that is not in use on to. It
// removes what an earlier restore left in that set. If another restore is still staging there, that one fails with
// ErrRestoreOvertaken.
//
// Errors: ErrNoState, ErrRestoreUnfinished.
func Stage(ctx context.Context, from, to *nats.Conn, opts Options) (*Staging, error) {
	opts = opts.withDefaults()
	js, err := natsutil.JetStream(to)
	if err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	s := &Staging{opts: opts, id: NewID(), js: js, started: now()}
	if s.source, err = openSource(ctx, from, opts.Prefix); err != nil {
		return nil, err
	}
	if s.states, err = FindStates(ctx, js, opts.Prefix); err != nil {
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
	s.slot = subject.OtherSlot(state.Slot)
	if err := s.removeStaged(ctx); err != nil {
		return nil, err
	}
	return s, s.createStreams(ctx, state.Slot)
}

// removeStaged removes the streams of the slot that is staged.
func (s *Staging) removeStaged(ctx context.Context) error {
	return removeStreams(ctx, s.js, subject.Prefix(s.opts.Prefix).Buckets(s.slot).Streams()...)
}

// removeStreams removes streams. A missing stream is no error.
func removeStreams(ctx context.Context, js jetstream.JetStream, streams ...string) error {
	for _, name := range streams {
		err := retryTransient(ctx, func(ctx context.Context) error { return js.DeleteStream(ctx, name) })
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("kv: remove stream %s: %w", name, err)
		}
	}
	return nil
}

// createStreams creates the streams of the slot that is staged. Their revisions begin above those of the slot in use.
func (s *Staging) createStreams(ctx context.Context, inUse string) error {
	old, n := subject.Prefix(s.opts.Prefix).Buckets(inUse).Streams(), subject.Prefix(s.opts.Prefix).Buckets(s.slot)
	s.created = make(map[string]time.Time)
	configs := []jetstream.StreamConfig{recordsConfig(n.Users, s.opts), tokensConfig(n.Tokens, s.opts), recordsConfig(n.Friendships, s.opts)}
	for i, config := range configs {
		config.FirstSeq = 1
		err := retryTransient(ctx, func(ctx context.Context) error {
			replaced, err := s.js.Stream(ctx, old[i])
			if err == nil {
				config.FirstSeq = replaced.CachedInfo().State.LastSeq + revisionGap
			}
			return err
		})
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("kv: stage: stream %s: %w", old[i], err)
		}
		err = retryTransient(ctx, func(ctx context.Context) error {
			stream, err := createStream(ctx, s.js, config)
			if err == nil {
				s.created[config.Name] = stream.CachedInfo().Created
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("kv: stage: create stream %s: %w", config.Name, err)
		}
	}
	return nil
}

// Fill copies accounts and rosters, and checks that the copies equal the originals. It does not copy tokens, so all
// clients log in again. It calls progress with the number of records written so far, once for every 4,096 records.
//
// Errors: ErrStagedDiffers, ErrRestoreOvertaken.
func (s *Staging) Fill(ctx context.Context, progress func(records int)) (Contents, error) {
	n := subject.Prefix(s.opts.Prefix).Buckets(s.slot)
	pairs := [2]struct {
		from, to *bucket
		want     Contents
		got      Contents
	}{
		{from: s.source.users, to: newBucket(s.js, n.Users, s.opts.Replicas)},
		{from: s.source.rosters, to: newBucket(s.js, n.Friendships, s.opts.Replicas)},
	}
	group, groupCtx := errgroup.WithContext(ctx)
	counts := make(chan int)
	for i := range pairs {
		p := &pairs[i]
		group.Go(func() error {
			if err := s.copy(groupCtx, p.from, p.to, &p.want, counts); err != nil {
				return err
			}
			return s.check(groupCtx, p.to, p.want, &p.got)
		})
	}
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		sum := 0
		for n := range counts {
			sum += n
			progress(sum)
		}
	}()
	err := group.Wait()
	close(counts)
	<-reported
	if err != nil {
		return Contents{}, fmt.Errorf("kv: stage: %w", err)
	}
	all := pairs[0].got
	all.Records += pairs[1].got.Records
	return all, nil
}

// copy writes all records of a bucket to another one, in order, and adds them to contents.
func (s *Staging) copy(ctx context.Context, from, to *bucket, contents *Contents, counts chan<- int) error {
	return writeBulk(ctx, []*bucket{to}, func(ctx context.Context, writers []*bulkWriter) error {
		uncounted := 0
		return s.source.records(ctx, from, func(e entry) error {
			contents.add(e)
			if uncounted++; uncounted == progressRecords {
				counts <- uncounted
				uncounted = 0
			}
			return writers[0].add(putAt(e.key, e.value, 0))
		})
	})
}

// check reads a staged bucket and compares its contents with want. Errors: ErrStagedDiffers, ErrRestoreOvertaken.
func (s *Staging) check(ctx context.Context, b *bucket, want Contents, got *Contents) error {
	stream, err := s.js.Stream(ctx, b.stream())
	if err != nil {
		return err
	}
	if !stream.CachedInfo().Created.Equal(s.created[b.stream()]) {
		return ErrRestoreOvertaken
	}
	err = b.pages(ctx, 0, func(entries []entry) error {
		for _, e := range entries {
			got.add(e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if *got != want {
		return fmt.Errorf("%w: %s has %d records, the backup %d", ErrStagedDiffers, b.stream(), got.Records, want.Records)
	}
	return nil
}

// StagedStreams names the streams in which a restore has staged the streams that keep their names; "": it leaves that
// stream as it is.
type StagedStreams struct {
	Log   string // the event log
	Talks string // the conversations
	Files string // the files
}

// Commit is the point of no return: it marks in the state that the staged buckets and streams replace those in use.
// backup is when the backup was created.
//
// Errors: ErrRestoreOvertaken, ErrConflict.
func (s *Staging) Commit(ctx context.Context, backup time.Time, staged StagedStreams) error {
	_, err := s.states.Update(ctx, func(state *State) error {
		if state.Staging != s.id || subject.OtherSlot(state.Slot) != s.slot {
			return ErrRestoreOvertaken
		}
		state.Staging = ""
		// From now on a start must not expect the old streams: some of them may be deleted already.
		for _, name := range subject.Prefix(s.opts.Prefix).Buckets(state.Slot).Streams() {
			delete(state.Streams, name)
		}
		if staged.Log != "" {
			delete(state.Streams, subject.Prefix(s.opts.Prefix).LogStream())
			forgetConsumers(state, subject.Prefix(s.opts.Prefix).LogStream())
		}
		if staged.Talks != "" {
			delete(state.Streams, subject.Prefix(s.opts.Prefix).TalkStream())
		}
		if staged.Files != "" {
			delete(state.Streams, subject.Prefix(s.opts.Prefix).FileStream())
		}
		state.Restore = &RestoreMark{
			Slot:    s.slot,
			Started: s.started,
			Backup:  backup,
			Format:  s.source.state.Format,
			Log:     staged.Log,
			Talks:   staged.Talks,
			Files:   staged.Files,
			Streams: s.created,
		}
		return nil
	})
	return err
}

// Abandon removes the staged buckets and the other streams of this restore. It must not be called after Commit. If
// another restore has begun since, Abandon changes nothing.
//
// Errors: ErrConflict.
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
	return errors.Join(err, s.removeStaged(ctx), removeStreams(ctx, s.js, others...))
}
