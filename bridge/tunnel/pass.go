package tunnel

import (
	"slices"
	"time"

	"imctl/bridge/delivery"
	"imctl/kv"
)

// A dialogue that is not stored may be written before earlier dialogues of the same sender: before those whose commit has
// an unknown outcome, which the sender was told have failed, and before those that a feed still has to read. If such a
// dialogue is in the store later, the feed must not write it. No mark in the store tells, since the node that knew may be
// gone. But a stored dialogue whose sender still waits is always announced by feed.take. So once an unstored dialogue is
// written, the feed skips what it reads of that sender, up to the first dialogue that is announced from then on.

// passed is what an unstored dialogue of a friend has overtaken.
type passed struct {
	until   uint64   // the first number that was announced afterwards; 0: none yet
	skipped []uint64 // numbers that were skipped, the latest maxSkipped
}

const (
	maxSkipped = 32
	// feedPatience is how long unstored dialogues are refused while the feed still reads earlier ones of the conversation.
	feedPatience = 1500 * time.Millisecond
)

// overtake reports whether a dialogue of a friend that is not stored may be written now. overtakes means that the feed
// gives up announced dialogues of the friend for it: their senders must be told.
func (f *feed) overtake(from string) (passes, overtakes bool) {
	if f.s.keep || f.s.tunnel.opts.Talks == nil {
		return true, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b, behind := f.behind[from]
	if behind && time.Since(b.since) < feedPatience {
		return false, false
	}
	if f.passed == nil {
		f.passed = make(map[string]passed)
	}
	p := f.passed[from]
	p.until = 0
	f.passed[from] = p
	if behind && len(b.early) > 0 {
		b.early = nil
		f.behind[from] = b
	}
	return true, behind
}

// announced notes a dialogue that came live. It reports whether the feed has skipped this dialogue before. Called with mu held.
func (f *feed) announced(k delivery.Kept) (skipped bool) {
	p, ok := f.passed[k.With]
	if !ok || k.Own || k.Plain == nil {
		return false
	}
	if i := slices.Index(p.skipped, k.N); i >= 0 {
		p.skipped, skipped = slices.Delete(p.skipped, i, i+1), true
	} else if p.until == 0 || k.N < p.until {
		p.until = k.N
	}
	f.passed[k.With] = p
	return skipped
}

// skips reports whether a dialogue of a friend that was read from the store must not be written. Called with mu held.
func (f *feed) skips(with string, d *kv.Dialogue) bool {
	p, ok := f.passed[with]
	if !ok || d.Kept || p.until != 0 && d.N >= p.until {
		return false
	}
	if !slices.Contains(p.skipped, d.N) { // it may be tried again
		p.skipped = append(p.skipped[max(0, len(p.skipped)-maxSkipped+1):], d.N)
		f.passed[with] = p
	}
	return true
}
