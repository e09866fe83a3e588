package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
)

// TalksOptions configure the stream of conversations.
type TalksOptions struct {
	MaxAge   time.Duration // of a record; 0: no limit
	MaxBytes int64         // of the stream, which drops its oldest records; 0 or less: no limit
}

// Talks is the stream of conversations: one subject a conversation, with the chain of its records.
type Talks struct {
	b      *bucket // its keys are <smaller id>.<larger id>
	prefix subject.Prefix

	mu        sync.Mutex // guards the fields below
	firstSeq  uint64     // of the stream
	firstRead time.Time  // when firstSeq was read
}

// talksConfig returns the configuration of the stream of conversations. It denies neither deletions nor purges, since
// conversations are erased.
func talksConfig(opts Options) jetstream.StreamConfig {
	p := subject.Prefix(opts.Prefix)
	c := EntryStream(p.TalkStream(), p.TalkAll(), opts.Replicas, opts.Talks.MaxAge, opts.Talks.MaxBytes)
	c.Retention, c.Discard = jetstream.LimitsPolicy, jetstream.DiscardOld
	c.Duplicates = 2 * time.Minute
	if opts.Talks.MaxAge > 0 {
		c.Duplicates = min(c.Duplicates, opts.Talks.MaxAge)
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = -1
	}
	return c
}

// openTalks creates the stream of conversations, or updates the existing one, and notes in the state that it must
// exist. It stays so while conversations are off: the stream keeps its records, and a start reports if it is lost.
//
// Errors: ErrStreamMismatch, ErrConflict.
func openTalks(ctx context.Context, js jetstream.JetStream, states *States, opts Options) (*Talks, error) {
	want := talksConfig(opts)
	if err := ensureSized(ctx, js, want, "dialogues.max_bytes", "conversations", opts.Log); err != nil {
		return nil, fmt.Errorf("kv: stream of conversations %s: %w", want.Name, err)
	}
	var t *Talks
	err := retrySettling(ctx, func(ctx context.Context) (err error) {
		if _, err = states.Expect(ctx, want.Name); err == nil {
			t, err = newTalks(ctx, js, opts.Prefix)
		}
		return err
	})
	return t, err
}

// newTalks returns the existing stream of conversations.
func newTalks(ctx context.Context, js jetstream.JetStream, prefix string) (*Talks, error) {
	p := subject.Prefix(prefix)
	s, err := findStream(ctx, js, p.TalkStream())
	if err != nil {
		return nil, fmt.Errorf("kv: stream of conversations %s: %w", p.TalkStream(), err)
	}
	b := newReader(js)
	b.location.Store(&location{
		stream:     p.TalkStream(),
		prefix:     strings.TrimSuffix(p.TalkAll(), ">"),
		replicated: s.CachedInfo().Config.Replicas > 1,
	})
	return &Talks{b: b, prefix: p}, nil
}

// OpenTalks returns the existing stream of conversations, or nil if there is none. It does not change its
// configuration.
//
// Errors: only those of NATS and ctx.
func OpenTalks(ctx context.Context, nc *nats.Conn, prefix string) (*Talks, error) {
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	t, err := newTalks(ctx, js, prefix)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	return t, err
}

// Stream returns the name of the stream. Subject returns the subject of a conversation. A writer publishes records on it
// and expects the sequence of the record before it (Nats-Expected-Last-Subject-Sequence).
func (t *Talks) Stream() string        { return t.b.stream() }
func (t *Talks) Subject(p Pair) string { return t.prefix.Talk(p.A, p.B) }

// key returns the key of a conversation: its subject without the prefix.
func (p Pair) key() string { return p.A + "." + p.B }

// valid reports whether the pair has two ids of users, the smaller one first.
func (p Pair) valid() bool { return p.A < p.B && ValidID(p.A) && ValidID(p.B) }

// Last returns the newest record of a conversation, or nil if it has none. It never uses an outdated replica.
//
// Errors: only those of NATS and ctx.
func (t *Talks) Last(ctx context.Context, p Pair) (*Record, error) {
	if !p.valid() {
		return nil, nil
	}
	e, err := t.b.get(ctx, p.key(), true)
	if errors.Is(err, errKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kv: read a conversation: %w", err)
	}
	return t.decode(p, e)
}

// decode decodes a record of a conversation.
func (t *Talks) decode(p Pair, e entry) (*Record, error) {
	r, err := DecodeRecord(p, e.revision, e.value)
	if err != nil {
		return nil, fmt.Errorf("kv: message %d of %s: %w", e.revision, t.b.stream(), err)
	}
	return r, nil
}

const (
	maxLastOf    = 1024 // conversations that LastOf requests at once
	leaderLastOf = 32   // conversations that LastOf requests at once from the leader
)

// LastOf returns the newest records of conversations. Those without records are not in the map. It never uses an
// outdated replica.
//
// Errors: only those of NATS and ctx.
func (t *Talks) LastOf(ctx context.Context, pairs []Pair) (map[Pair]*Record, error) {
	if t.b.replicated() {
		return t.lastOfLeader(ctx, pairs)
	}
	all := make(map[Pair]*Record, len(pairs))
	for chunk := range slices.Chunk(pairs, maxLastOf) {
		if err := t.lastOf(ctx, chunk, all); err != nil {
			return nil, fmt.Errorf("kv: read conversations: %w", err)
		}
	}
	return all, nil
}

// lastOfLeader is LastOf with requests to the leader, which answers one conversation a request.
func (t *Talks) lastOfLeader(ctx context.Context, pairs []Pair) (map[Pair]*Record, error) {
	records := make([]*Record, len(pairs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(leaderLastOf)
	for i, p := range pairs {
		group.Go(func() (err error) {
			records[i], err = t.Last(ctx, p)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := make(map[Pair]*Record, len(pairs))
	for i, r := range records {
		if r != nil {
			all[pairs[i]] = r
		}
	}
	return all, nil
}

// lastOf adds the newest records of conversations to all. Direct gets that are sent together take as long as one
// request for all of them (multi_last), whose answer may stop early.
func (t *Talks) lastOf(ctx context.Context, pairs []Pair, all map[Pair]*Record) error {
	keys := make([]string, 0, len(pairs))
	for _, p := range pairs {
		if p.valid() {
			keys = append(keys, p.key())
		}
	}
	found, err := t.b.getMany(ctx, keys)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if e, ok := found[p.key()]; ok {
			if all[p], err = t.decode(p, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// at returns the record of a conversation with that sequence. Errors: ErrNoDialogue if the stream has it no longer.
func (t *Talks) at(ctx context.Context, p Pair, seq uint64) (*Record, error) {
	var buffer [32]byte
	request := append(strconv.AppendUint(append(buffer[:0], `{"seq":`...), seq, 10), '}')
	e, err := t.b.getDirect(ctx, t.b.directAPI(), request)
	if errors.Is(err, errKeyNotFound) && t.b.replicated() { // the replica may lag
		e, err = t.b.requestLeader(ctx, map[string]any{"seq": seq})
		e.key = p.key()
	}
	if errors.Is(err, errKeyNotFound) {
		return nil, ErrNoDialogue
	}
	if err != nil {
		return nil, fmt.Errorf("kv: read a conversation: %w", err)
	}
	if e.key != p.key() {
		return nil, fmt.Errorf("kv: message %d of %s is no record of this conversation", seq, t.b.stream())
	}
	return t.decode(p, e)
}

// follow returns an earlier record of the conversation of r. Errors: ErrNoDialogue if the stream has it no longer.
func (t *Talks) follow(ctx context.Context, r *Record, seq uint64) (*Record, error) {
	earlier, err := t.at(ctx, r.Pair, seq)
	if err == nil && earlier.index >= r.index {
		err = fmt.Errorf("kv: message %d of %s points to the later record %d", r.Seq, t.b.stream(), seq)
	}
	return earlier, err
}

// back returns the sequence of the earliest record with a pointer in r that is not before the wanted record, as late
// reports, or of the record before r.
func (r *Record) back(late func(seq, last uint64) bool) uint64 {
	for _, s := range slices.Backward(r.skips) {
		if late(s.seq, s.last) {
			return s.seq
		}
	}
	return r.prev
}

// Find returns the record that has dialogue n, which is r or before it.
//
// Errors: ErrNoDialogue.
func (t *Talks) Find(ctx context.Context, r *Record, n uint64) (*Record, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if n < r.start || n > r.Last {
		return nil, ErrNoDialogue
	}
	for n < r.First {
		var err error
		if r, err = t.follow(ctx, r, r.back(func(_, last uint64) bool { return last >= n })); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Before returns the record before r, or nil if there is none any more.
//
// Errors: only those of NATS and ctx.
func (t *Talks) Before(ctx context.Context, r *Record) (*Record, error) {
	if r.index <= 1 {
		return nil, nil
	}
	earlier, err := t.follow(ctx, r, r.prev)
	if errors.Is(err, ErrNoDialogue) {
		return nil, nil
	}
	return earlier, err
}

// firstAge is how long Talks uses the first sequence of the stream that it has read.
const firstAge = time.Second

// first returns the sequence of the first message of the stream, as it was at most a second ago.
func (t *Talks) first(ctx context.Context) (uint64, error) {
	t.mu.Lock()
	seq, fresh := t.firstSeq, time.Since(t.firstRead) < firstAge
	t.mu.Unlock()
	if fresh {
		return seq, nil
	}
	var info struct {
		apiResponse
		State struct {
			FirstSeq uint64 `json:"first_seq"`
		} `json:"state"`
	}
	read := time.Now()
	if err := t.b.request(ctx, "STREAM.INFO", struct{}{}, &info); err != nil {
		return 0, fmt.Errorf("kv: read the state of %s: %w", t.b.stream(), err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.firstSeq, t.firstRead = max(t.firstSeq, info.State.FirstSeq), read
	return t.firstSeq, nil
}

// oldest returns the number of the oldest dialogue that the stream still has of the conversation with that newest
// record. It is head.Last+1 if there is none.
func (t *Talks) oldest(ctx context.Context, head *Record) (uint64, error) {
	first, err := t.first(ctx)
	if err != nil {
		return 0, err
	}
	if head.origin == 0 || head.origin >= first {
		return head.start, nil
	}
	for r := head; ; {
		seq := r.back(func(seq, _ uint64) bool { return seq >= first })
		if r.index == 1 || seq < first {
			return r.First, nil
		}
		earlier, err := t.follow(ctx, r, seq)
		if errors.Is(err, ErrNoDialogue) { // it expired meanwhile
			return r.First, nil
		}
		if err != nil {
			return 0, err
		}
		r = earlier
	}
}

// Scan calls do with all records, in the order of writing. The data of a record is valid during the call. An error of
// do ends the scan and is returned.
//
// An erased conversation may still have records: those before a record without dialogues.
func (t *Talks) Scan(ctx context.Context, do func(*Record) error) error {
	return t.b.pages(ctx, 0, func(entries []entry) error {
		for _, e := range entries {
			a, b, ok := strings.Cut(e.key, ".")
			p := Pair{a, b}
			if !ok || !p.valid() {
				return fmt.Errorf("kv: message %d of %s is no record: its subject is that of no conversation", e.revision, t.b.stream())
			}
			r, err := t.decode(p, e)
			if err != nil {
				return err
			}
			if err := do(r); err != nil {
				return err
			}
		}
		return nil
	})
}
