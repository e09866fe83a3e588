package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

// Lag is how far a consumer of the log is behind.
type Lag struct {
	Name       string `json:"name"`
	Attachment bool   `json:"attachment"` // belongs to an attachment of that name
	Durable    bool   `json:"durable"`    // false: the consumer expires by itself
	Pending    uint64 `json:"pending"`    // entries that were not delivered to it
	Unacked    uint64 `json:"unacked"`    // entries that were delivered and are not acknowledged
	Waiting    int    `json:"waiting"`    // requests that wait for entries
	// Oldest is the time of the oldest entry that it needs, zero if there is none.
	Oldest time.Time `json:"oldest,omitzero"`
	// Seen is the time of its last request, delivery or acknowledgement that the NATS server remembers. It is zero for a
	// program that has done nothing since the server's start.
	Seen time.Time `json:"seen,omitzero"`

	kinds   []string // of the entries that it takes
	offline bool     // a filter names the entries of dialogues to users that are offline
}

// Behind returns the number of entries that the consumer has not acknowledged.
func (l Lag) Behind() uint64 { return l.Pending + l.Unacked }

// Usage is how much of its limits the log uses, and how far its consumers are behind.
type Usage struct {
	Read     time.Time     `json:"read"`
	Entries  uint64        `json:"entries"`
	Bytes    uint64        `json:"bytes"`
	MaxBytes int64         `json:"max_bytes"` // the log accepts no entries beyond it; -1: no limit
	MaxAge   time.Duration `json:"-"`         // of an entry; 0: no limit
	// Refusing is true if the log has refused an entry since it is full. Only a running server knows.
	Refusing  bool  `json:"-"`
	Consumers []Lag `json:"consumers"` // the slowest first: in the order of the oldest entry that they need
}

// Percent returns the used part of MaxBytes, 0 without a limit.
func (u Usage) Percent() int {
	if u.MaxBytes <= 0 {
		return 0
	}
	return int(u.Bytes * 100 / uint64(u.MaxBytes))
}

// AgePercent returns the age of the oldest entry that the slowest consumer needs, as a part of MaxAge.
func (u Usage) AgePercent() int {
	slowest, ok := u.Slowest()
	if !ok || u.MaxAge <= 0 {
		return 0
	}
	return int(u.Read.Sub(slowest.Oldest) * 100 / u.MaxAge)
}

// Crowded reports whether the log is so full that it may refuse entries soon.
func (u Usage) Crowded() bool { return u.Refusing || u.Percent() >= alarmPercent }

// Slowest returns the consumer that needs the oldest entry. It reports false if no consumer needs an entry.
func (u Usage) Slowest() (Lag, bool) {
	if len(u.Consumers) == 0 || u.Consumers[0].Oldest.IsZero() {
		return Lag{}, false
	}
	return u.Consumers[0], true
}

// Consumer returns the consumer of an attachment. It reports false if there is none.
func (u Usage) Consumer(attachment string) (Lag, bool) {
	for _, l := range u.Consumers {
		if l.Attachment && l.Name == attachment {
			return l, true
		}
	}
	return Lag{}, false
}

// minShare is the smallest part of the log's entries for which a consumer is worth removing, 1/minShare.
const minShare = 10

// Removable returns the slowest consumer among idle whose removal frees entries. A consumer is not removable if it
// needs only a small part of the entries, or if consumers that are not idle need the same entries. Removable reports
// false if there is none.
func (u Usage) Removable(idle map[string]bool) (Lag, bool) {
	for _, l := range u.Consumers {
		if l.Attachment && idle[l.Name] && l.Behind()*minShare >= u.Entries && u.alone(l, idle) {
			return l, true
		}
	}
	return Lag{}, false
}

// alone reports whether l takes a kind of entries of which the consumers that are not idle have acknowledged more.
func (u Usage) alone(l Lag, idle map[string]bool) bool {
	for _, kind := range l.kinds {
		if !slices.ContainsFunc(u.Consumers, func(other Lag) bool {
			return !(other.Attachment && idle[other.Name]) && slices.Contains(other.kinds, kind) && !other.Oldest.IsZero() && !other.Oldest.After(l.Oldest)
		}) {
			return true
		}
	}
	return false
}

// Degraded returns what is wrong with the log, "" for nothing: it is nearly full, or entries expire soon that a
// consumer has not acknowledged.
func (u Usage) Degraded(onError OnError) string {
	behind := ""
	if slowest, ok := u.Slowest(); ok {
		behind = fmt.Sprintf("consumer %s is behind by %d entries", slowest.Name, slowest.Behind())
	}
	switch {
	case u.Refusing || u.Percent() >= 99:
		text := "the event log is full, so dialogues are answered 507"
		if onError == Continue {
			text = "the event log is full and loses entries"
		}
		return joined(text, behind)
	case u.Percent() >= alarmPercent:
		return joined(fmt.Sprintf("the event log is %d %% full", u.Percent()), behind)
	case u.AgePercent() >= alarmPercent:
		return fmt.Sprintf("%s, the oldest at %d %% of nats.log.max_age", behind, u.AgePercent())
	}
	return ""
}

func joined(text, more string) string {
	if more == "" {
		return text
	}
	return text + "; " + more
}

// Reader reads the usage of a log. It remembers the time of the oldest entry that each consumer needs, so that a
// consumer that stands still costs no read of an entry. It must not be used concurrently.
type Reader struct {
	js     jetstream.JetStream
	names  subject.Prefix
	oldest map[string]firstNeeded // by consumer
}

// firstNeeded is the first entry that a consumer has not acknowledged.
type firstNeeded struct {
	created time.Time // the consumer's
	after   uint64    // the consumer has acknowledged up to this sequence
	seq     uint64
	time    time.Time
}

// NewReader returns a reader of the log with that prefix.
func NewReader(js jetstream.JetStream, prefix subject.Prefix) *Reader {
	return &Reader{js: js, names: prefix, oldest: make(map[string]firstNeeded)}
}

// Read reads the usage.
//
// Errors: jetstream.ErrStreamNotFound if there is no log.
func (r *Reader) Read(ctx context.Context) (Usage, error) {
	s, err := r.js.Stream(ctx, r.names.LogStream())
	if err != nil {
		return Usage{}, err
	}
	return r.read(ctx, s)
}

func (r *Reader) read(ctx context.Context, s jetstream.Stream) (Usage, error) {
	info := s.CachedInfo()
	u := Usage{Read: time.Now(), Entries: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes, MaxAge: info.Config.MaxAge, Consumers: []Lag{}}
	before := r.oldest
	r.oldest = make(map[string]firstNeeded, len(before))
	list := s.ListConsumers(ctx)
	for c := range list.Info() {
		l := r.lagOf(c)
		if l.Behind() > 0 {
			first, err := r.firstNeeded(ctx, s, c, before[c.Name])
			if err != nil {
				return Usage{}, fmt.Errorf("oldest entry that consumer %s needs: %w", c.Name, err)
			}
			l.Oldest = first.time
		}
		u.Consumers = append(u.Consumers, l)
	}
	if err := list.Err(); err != nil {
		return Usage{}, fmt.Errorf("list the consumers of the event log: %w", err)
	}
	slices.SortFunc(u.Consumers, slowerFirst)
	return u, nil
}

// slowerFirst compares two consumers by the oldest entry that they need. Those that need none are last.
func slowerFirst(a, b Lag) int {
	if a.Oldest.IsZero() != b.Oldest.IsZero() {
		if a.Oldest.IsZero() {
			return 1
		}
		return -1
	}
	return cmp.Or(a.Oldest.Compare(b.Oldest), cmp.Compare(b.Behind(), a.Behind()), cmp.Compare(a.Name, b.Name))
}

func (r *Reader) lagOf(c *jetstream.ConsumerInfo) Lag {
	l := Lag{Name: c.Name, Attachment: c.Config.Description == consumerDescription, Durable: c.Config.Durable != "", Pending: c.NumPending,
		Unacked: uint64(c.NumAckPending), Waiting: c.NumWaiting}
	for _, last := range []*time.Time{c.Delivered.Last, c.AckFloor.Last} {
		if last != nil && last.After(l.Seen) {
			l.Seen = *last
		}
	}
	for _, kind := range kinds {
		if takes(r.names, c.Config, kind) {
			l.kinds = append(l.kinds, kind)
		}
	}
	l.offline = namesKind(r.names, c.Config, subject.OfflineKind)
	return l
}

// firstNeeded returns the first entry after the acknowledged ones that matches a filter of the consumer. before is the
// one of the previous read. The zero value means that the entry has expired meanwhile.
func (r *Reader) firstNeeded(ctx context.Context, s jetstream.Stream, c *jetstream.ConsumerInfo, before firstNeeded) (firstNeeded, error) {
	after := acknowledgedBy(c, s.CachedInfo().State.LastSeq)
	if before.after == after && before.created.Equal(c.Created) && before.seq >= s.CachedInfo().State.FirstSeq {
		r.oldest[c.Name] = before
		return before, nil
	}
	filters := c.Config.FilterSubjects
	if c.Config.FilterSubject != "" || len(filters) == 0 {
		filters = append(filters, cmp.Or(c.Config.FilterSubject, r.names.LogAll()))
	}
	var first firstNeeded
	for _, filter := range filters {
		m, err := s.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return firstNeeded{}, err
		}
		if first.seq == 0 || m.Sequence < first.seq {
			first = firstNeeded{c.Created, after, m.Sequence, m.Time}
		}
	}
	if first.seq > 0 {
		r.oldest[c.Name] = first
	}
	return first, nil
}
