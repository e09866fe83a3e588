package eventlog

import (
	"context"
	"slices"
	"time"
)

// kindPresence is the kind of the entries about users that come online and go offline. They are written only while a
// consumer takes them.
const kindPresence = "presence"

// allKinds has the bits of all kinds.
const allKinds = ^uint32(0)

// noteWanted notes which kinds the consumers of a reading take. A consumer that was announced in the seconds before the
// reading began, or later, may be missing in it, so all kinds stay wanted.
func (l *Log) noteWanted(u Usage, began time.Time) {
	var bits uint32
	for i, kind := range kinds {
		if slices.ContainsFunc(u.Consumers, func(c Lag) bool { return slices.Contains(c.kinds, kind) }) {
			bits |= 1 << i
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if began.After(l.heldUntil) {
		l.wanted.Store(bits)
	}
}

// wants reports whether a consumer may take entries of a kind.
func (l *Log) wants(kind string) bool {
	return l.Attached() && l.wanted.Load()&(1<<slices.Index(kinds, kind)) != 0
}

// WantsPresence reports whether a consumer may take entries about presence.
func (l *Log) WantsPresence() bool { return l.wants(kindPresence) }

// Presence writes that a user came online, or went offline, if a consumer takes such entries. done, if set, is told once
// when the entry is stored or refused. It is not told if there is no entry.
func (l *Log) Presence(user string, online bool, done Done) {
	if !l.WantsPresence() {
		return
	}
	what := "offline"
	if online {
		what = "online"
	}
	now := time.Now()
	data := newEventBody(now, func(e *eventBody) { e.User = user })
	l.add(entry{subject: l.names.Log(kindPresence, what, user), data: data, done: done, expires: now.Add(l.opts.Timeout)})
}

// PresenceUnknown writes that users of a node may have gone offline, or come online, without an entry.
func (l *Log) PresenceUnknown(node string) {
	if l.WantsPresence() {
		l.addEvent(l.names.Log(kindPresence, "unknown", node), func(e *eventBody) { e.Node = node })
	}
}

// Last returns the sequence of the last entry in the stream, 0 if there was none.
func (l *Log) Last(ctx context.Context) (uint64, error) {
	s, err := l.js.Stream(ctx, l.stream)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.LastSeq, nil
}
