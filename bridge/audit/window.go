package audit

import (
	"maps"
	"slices"
	"time"
)

// windowLength is the time after which a window begins anew.
const windowLength = time.Minute

// window bounds the entries of one kind in a minute: those of each source, and those of all sources. It counts the
// events that get no entry.
type window struct {
	perSource, total int

	began   time.Time
	sources map[string]*tally
	entries int
	others  int // events without an entry, of sources that have no entry at all
}

// tally are the events of a source in a minute.
type tally struct {
	entries, omitted int
	last             Event // the latest omitted event
}

// newWindows returns the windows of the kinds that clients can cause without a limit.
func newWindows() map[Kind]*window {
	return map[Kind]*window{
		LoginFailed: {perSource: 10, total: 600, sources: make(map[string]*tally)},
		LoginDone:   {perSource: 10, total: 20_000, sources: make(map[string]*tally)},
	}
}

// admit counts an event and reports whether it gets an entry.
func (w *window) admit(e Event) bool {
	key := e.source()
	t := w.sources[key]
	switch {
	case t == nil && w.entries >= w.total:
		w.others++
		return false
	case t == nil:
		t = new(tally)
		w.sources[key] = t
	case t.entries >= w.perSource || w.entries >= w.total:
		t.omitted++
		t.last = e
		return false
	}
	t.entries++
	w.entries++
	return true
}

// ended reports whether the minute has passed.
func (w *window) ended(now time.Time) bool { return now.Sub(w.began) >= windowLength }

// roll begins a new minute, and returns the summaries of the last one.
func (w *window) roll(kind Kind, now time.Time) (summaries []Event) {
	for _, key := range slices.Sorted(maps.Keys(w.sources)) {
		if t := w.sources[key]; t.omitted > 0 {
			summaries = append(summaries, Event{Time: now, Event: kind, Actor: t.last.Actor, Address: t.last.Address, Count: t.omitted, Detail: "more in a minute"})
		}
	}
	if w.others > 0 {
		summaries = append(summaries, Event{Time: now, Event: kind, Actor: Ref{Kind: Client}, Count: w.others, Detail: "more in a minute, from further sources"})
	}
	w.began, w.entries, w.others = now, 0, 0
	clear(w.sources)
	return summaries
}
