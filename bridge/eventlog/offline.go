package eventlog

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

// Offline is a dialogue to a user of whom no device is connected.
type Offline struct {
	From, To string
	ID       []byte // JSON strings, as the sender wrote them
	Payload  []byte
	N        uint64    // number in the conversation; 0: the dialogue is not kept
	At       time.Time // when it was stored, or refused
}

// WantsOffline reports whether a consumer of the log wants dialogues to users that are offline: one of its filters
// begins with their word. A filter with a wildcard there selects these entries, and does not cause them.
func (l *Log) WantsOffline() bool { return l.offline.Load() && l.Attached() }

// AddOffline queues the entry of a dialogue to a user that is offline. No caller waits for it.
func (l *Log) AddOffline(d Offline) {
	now := time.Now()
	l.add(entry{subject: l.names.LogOffline(d.From, d.To), data: offlineBody(d, now), expires: now.Add(l.opts.Timeout)})
}

// OfflineLost counts a dialogue to a user that is offline, for which no entry could be queued.
func (l *Log) OfflineLost() { l.metrics.lost.Inc() }

// offlineBody returns the JSON of the entry.
func offlineBody(d Offline, at time.Time) []byte {
	body := make([]byte, 0, len(d.ID)+len(d.From)+len(d.To)+len(d.Payload)+160)
	body = append(appendDialogue(body, at, d.ID, d.From, d.To), '"')
	if d.N > 0 {
		body = append(body, `,"n":`...)
		body = strconv.AppendUint(body, d.N, 10)
	}
	body = append(body, `,"at":"`...)
	body = d.At.UTC().AppendFormat(body, "2006-01-02T15:04:05.000Z07:00")
	body = append(body, `","payload":`...)
	body = append(body, d.Payload...)
	return append(body, '}')
}

// noteOffline notes whether a consumer wants dialogues to users that are offline. A consumer that was announced a moment
// before the reading began, or later, may be missing in it.
func (l *Log) noteOffline(u Usage, began time.Time) {
	wanted := slices.ContainsFunc(u.Consumers, func(c Lag) bool { return c.offline })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offline.Store(wanted || !began.After(l.heldUntil))
}

// namesKind reports whether a filter of a consumer begins with a word.
func namesKind(prefix subject.Prefix, c jetstream.ConsumerConfig, word string) bool {
	begin := prefix.Log(word) + "."
	return strings.HasPrefix(c.FilterSubject, begin) || slices.ContainsFunc(c.FilterSubjects, func(f string) bool { return strings.HasPrefix(f, begin) })
}
