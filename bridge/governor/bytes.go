package governor

import (
	"sync"
)

// bytesInFlight bounds the memory of requests that are being read. One address gets a quarter of it at most.
type bytesInFlight struct {
	mu        sync.Mutex // guards the fields below
	all       int64
	byAddress map[string]int64
}

const addressPart = 4

func (b *bytesInFlight) init() { b.byAddress = make(map[string]int64) }

// Body counts the bytes of one request's body while it is being read and served.
type Body struct {
	g       *Governor
	address string
	bytes   int64
}

// NewBody returns the count of a request's body. The caller must call Free.
func (g *Governor) NewBody(address string) *Body { return &Body{g: g, address: address} }

// Grow counts n more bytes. Errors: ErrLimited.
func (b *Body) Grow(n int) error {
	most := b.g.opts.Load().Bodies
	f := &b.g.bodies
	f.mu.Lock()
	own := f.byAddress[b.address] + int64(n)
	if most > 0 && (f.all+int64(n) > most || own > most/addressPart) {
		f.mu.Unlock()
		return b.g.refuse(BodyBytes, b.address, 0)
	}
	f.all += int64(n)
	f.byAddress[b.address] = own
	f.mu.Unlock()
	b.bytes += int64(n)
	return nil
}

// Free takes the bytes back.
func (b *Body) Free() {
	f := &b.g.bodies
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all -= b.bytes
	if f.byAddress[b.address] -= b.bytes; f.byAddress[b.address] == 0 {
		delete(f.byAddress, b.address)
	}
	b.bytes = 0
}

// sessionShare is how many bytes may wait for each session, even if the bytes for all sessions are used up. A client
// that reads needs no more.
const sessionShare = 64 << 10

// Wait counts n bytes that are about to wait for a session that has waiting bytes already. It returns false, and counts
// nothing, if all sessions together have too many. The caller must call Sent for bytes that were counted.
func (g *Governor) Wait(n, waiting int) bool {
	most := g.opts.Load().Waiting
	if all := g.waiting.Add(int64(n)); most > 0 && all > most && waiting+n > sessionShare {
		g.waiting.Add(int64(-n))
		return false
	}
	return true
}

// MaxWaiting returns how many bytes may wait for all sessions, and as many may be in flight between them. 0: no limit.
func (g *Governor) MaxWaiting() int { return int(g.opts.Load().Waiting) }

// Sent takes back n bytes that were counted by Wait.
func (g *Governor) Sent(n int) { g.waiting.Add(int64(-n)) }

// NoteSlow notes that a session of a user got no more bytes.
func (g *Governor) NoteSlow(user string) { g.journal.add(WaitingBytes, user) }
