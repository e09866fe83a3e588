package kv

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// A restore into servers that run has two parts. It stages: it fills the set of buckets that is not in use, which
// disturbs nobody and may be given up at any moment. Then it commits: a mark in the state says that the old contents
// are about to go, and from there on a restore is only ever completed, by whichever command comes next.

var (
	// ErrRestoreOvertaken: another restore began while this one was staging.
	ErrRestoreOvertaken = errors.New("another restore has begun")
	// ErrStagedDiffers: what was staged is not what it was made from.
	ErrStagedDiffers = errors.New("the staged records differ from the backup's")
)

// revisionGap is by how much the revisions of a staged bucket exceed those of the bucket that it replaces. The latter
// is written until the commit, and a node that compares a revision from before with one from after has to find the
// latter later; nor may a write from before find the revision that it expects.
const revisionGap = 1 << 32

// Contents is what a set of buckets holds.
type Contents struct {
	Users   int // accounts
	Records int // all keys, without delete markers
	sum     [sha256.Size]byte
}

// add counts a record. The sum does not depend on the order.
func (c *Contents) add(e entry) {
	h := sha256.New()
	fmt.Fprintf(h, "%d\x00%s\x00", len(e.key), e.key)
	h.Write(e.value)
	for i, b := range h.Sum(nil) {
		c.sum[i] ^= b
	}
	c.Records++
	if strings.HasPrefix(e.key, userKey("")) {
		c.Users++
	}
}

// Adopt makes the state fit the streams that were restored with it, or before there was one: it expects those streams
// of its slot, and others where they exist, and no restore under way. A server can then open the buckets.
//
// Errors: ErrStreamMismatch, and ErrStagedDiffers where a bucket is missing.
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

// Inspect reads every record of the buckets in use, and returns what they hold. It returns an error for one that can't be read.
// Nodes that are listed are taken off the list: whoever restores a backup knows that none of them runs.
func Inspect(ctx context.Context, nc *nats.Conn, prefix string) (Contents, error) {
	var all Contents
	s, err := openSource(ctx, nc, prefix)
	if err != nil {
		return all, err
	}
	if err := s.users.purge(ctx, nodePrefix+">", 0); err != nil {
		return all, fmt.Errorf("kv: %w", err)
	}
	for _, b := range []*bucket{s.users, s.rosters} {
		_, err := s.walk(ctx, b, func(e entry) error { all.add(e); return nil })
		if err != nil {
			return all, fmt.Errorf("kv: inspect %s: %w", b.stream(), err)
		}
	}
	return all, nil
}

// source is a set of buckets that is read as a whole.
type source struct {
	users, rosters *bucket
	state          State
}

func openSource(ctx context.Context, nc *nats.Conn, prefix string) (*source, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	states, err := FindStates(ctx, js, prefix)
	if err != nil {
		return nil, err
	}
	state, err := states.Get(ctx)
	if err != nil {
		return nil, err
	}
	n := namesOf(prefix, state.Slot)
	return &source{newBucket(js, n.users, 1), newBucket(js, n.friendships, 1), state}, nil
}

// carried tells whether a restore carries a record over: not the list of nodes, which belongs to other processes, nor
// codes for forgotten passwords, which have minutes to live, nor what an upgrade left.
func carried(key string) bool {
	return !strings.HasPrefix(key, nodePrefix) && !strings.HasPrefix(key, resetKey("")) && !strings.HasPrefix(key, fillKey)
}

// walk calls do with all that a restore carries over of a bucket, in the order of writing, and checks that it can be
// decoded. It returns the last revision.
func (s *source) walk(ctx context.Context, b *bucket, do func(entry) error) (last uint64, err error) {
	return last, b.each(ctx, 0, func(e entry) error {
		last = e.revision
		if e.deleted || !carried(e.key) {
			return nil
		}
		if err := s.decodes(b, e); err != nil {
			return err
		}
		return do(e)
	})
}

func (s *source) decodes(b *bucket, e entry) error {
	var err error
	switch {
	case b == s.rosters:
		err = json.Unmarshal(e.value, new(Roster))
	case strings.HasPrefix(e.key, userKey("")):
		err = json.Unmarshal(e.value, new(User))
	}
	if err != nil { // not the decoder's error: it may quote the record
		return fmt.Errorf("the record at %s, revision %d, is damaged", e.key, e.revision)
	}
	return nil
}

const (
	// eachPage is how many records are asked for at once.
	eachPage = 4096
	// eachWait bounds how long the next record may take. A replica that is late waits for its leader.
	eachWait = 30 * time.Second
)

// each calls do with every record and delete marker, in the order of writing. It reads by a consumer: pages of direct
// gets cost more the more records there are. A replica may be late: with until, which is the revision of the last
// record, the call waits for that.
func (b *bucket) each(ctx context.Context, until uint64, do func(entry) error) (err error) {
	failed := func(err error) error { return fmt.Errorf("read from %s: %w", b.stream(), err) }
	stream, err := b.js.Stream(ctx, b.stream())
	if err != nil {
		return failed(err)
	}
	if stream.CachedInfo().State.Msgs == 0 {
		return nil
	}
	consumer, err := b.js.OrderedConsumer(ctx, b.stream(), jetstream.OrderedConsumerConfig{InactiveThreshold: eachWait})
	if err != nil {
		return failed(err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(eachPage))
	if err != nil {
		return failed(err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextMaxWait(eachWait))
		if err != nil {
			return failed(err)
		}
		if err := ctx.Err(); err != nil {
			return failed(err)
		}
		meta, err := m.Metadata()
		if err != nil || len(m.Subject()) <= len(b.prefix()) {
			return failed(errors.Join(err, fmt.Errorf("a message on %s is no record", m.Subject())))
		}
		if err := do(entry{key: m.Subject()[len(b.prefix()):], value: m.Data(), revision: meta.Sequence.Stream, deleted: isMarker(m.Headers()), written: meta.Timestamp}); err != nil {
			return err
		}
		if meta.NumPending == 0 && meta.Sequence.Stream >= until {
			return nil
		}
	}
}

// Staging fills the set of buckets that is not in use with the records of another NATS.
type Staging struct {
	o       Options
	id      string
	slot    string
	js      jetstream.JetStream
	states  *States
	source  *source
	started time.Time
	created map[string]time.Time // of the streams that were made
}

// Stage begins a restore of what the buckets on from hold into the buckets on to that are not in use. What another
// restore may have left there is removed; a restore that is still staging there will fail.
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

// Slot is the set of buckets that is filled.
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

// Fill copies accounts and rosters, and checks that all are there as they were. Tokens are left out: everybody logs in
// again. progress is called now and then with the number of records that were written.
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
		return sent // err only says that it was given up then
	}
	return err
}

// check reads the bucket as it is now, and compares.
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
		return fmt.Errorf("%w: %s has %d records, and there were %d", ErrStagedDiffers, b.stream(), got.Records, want.Records)
	}
	return nil
}

// Commit is the point of no return: it marks that the staged buckets replace those in use. log names the stream that
// holds the restored event log, backup is when the backup was made.
//
// Errors: ErrRestoreOvertaken.
func (s *Staging) Commit(ctx context.Context, backup time.Time, log string) error {
	_, err := s.states.Update(ctx, func(state *State) error {
		if state.Staging != s.id || OtherSlot(state.Slot) != s.slot {
			return ErrRestoreOvertaken
		}
		state.Staging = ""
		// Nothing of the old contents must exist any more: a start may come when a part of it is deleted.
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

// Abandon removes what was staged, with the other streams of this restore. It must not be called after Commit. What another
// restore that has begun since stages is left alone.
func (s *Staging) Abandon(ctx context.Context, others ...string) error {
	_, err := s.states.Update(ctx, func(state *State) error {
		if state.Staging != s.id {
			return ErrRestoreOvertaken
		}
		state.Staging = ""
		return nil
	})
	if errors.Is(err, ErrRestoreOvertaken) {
		return nil // what is there is the other's
	}
	return errors.Join(err, s.clear(ctx), removeStreams(ctx, s.js, others...))
}

// NoteNodes adds the nodes that are listed in the buckets which a marked restore replaces to its mark, and returns all that
// have to be told.
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

// RemoveReplaced removes the buckets that a marked restore replaces. No record can be written to them after it.
func (s *States) RemoveReplaced(ctx context.Context, mark RestoreMark) error {
	return removeStreams(ctx, s.b.js, Streams(s.prefix, OtherSlot(mark.Slot))...)
}

// LogRestored notes that the event log of a marked restore has taken its place, in a stream of that name.
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
			forgetConsumers(state, stream) // those of the log that was replaced; nodes note the new ones
		}
		return nil
	})
	return err
}

// forgetConsumers takes back the notes that consumers of a stream must exist.
func forgetConsumers(state *State, stream string) {
	maps.DeleteFunc(state.Streams, func(name string, _ time.Time) bool { return strings.HasPrefix(name, stream+"/") })
}

// Finish puts the staged buckets of a marked restore into use.
func (s *States) Finish(ctx context.Context) (State, error) {
	return s.Update(ctx, func(state *State) error {
		mark := state.Restore
		if mark == nil {
			return nil // another command was faster
		}
		for name, created := range mark.Streams {
			state.Streams[name] = created
		}
		state.Format, state.Slot, state.Restore = mark.Format, mark.Slot, nil
		return nil
	})
}

// InUse tells whether the store uses the buckets that the state names.
func (s *Store) InUse(state State) bool {
	mine := s.state.Load()
	if mine.Slot != state.Slot {
		return false
	}
	return !slices.ContainsFunc(Streams(s.States.prefix, state.Slot), func(name string) bool {
		return !mine.Streams[name].Equal(state.Streams[name])
	})
}

// Use has the store use the buckets that the state names from the next call on. A call that is under way may still end in an error,
// but changes nothing that it has not read there: revisions of the two sets differ.
//
// Errors: ErrStreamMismatch.
func (s *Store) Use(ctx context.Context, state State) error {
	n, js := namesOf(s.o.Prefix, state.Slot), s.Users.b.js
	replicas := make(map[string]int)
	for _, config := range []jetstream.StreamConfig{recordsConfig(n.users, s.o), tokensConfig(n.tokens, s.o), recordsConfig(n.friendships, s.o)} {
		if _, err := js.Stream(ctx, config.Name); err != nil { // to be found, not made
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
