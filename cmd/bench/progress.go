package bench

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress is the line on a terminal that tells how far a run is. The zero Progress tells nothing.
type Progress struct {
	Terminal io.Writer

	mu sync.Mutex // guards Terminal: one line at a time
}

func (p *Progress) say(line string) {
	if p == nil || p.Terminal == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.Terminal, "\r\x1b[K%s", line)
}

// Clear takes the line away.
func (p *Progress) Clear() { p.say("") }

// every shows a new line each second until the returned function is called.
func (p *Progress) every(line func() string) (stop func()) {
	if p == nil || p.Terminal == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				p.say(line())
			}
		}
	}()
	return func() { close(quit); <-done; p.Clear() }
}

// speed tells rates between two lines.
type speed struct {
	last time.Time
	n    int64
}

// of returns how many a second were added since it was asked last.
func (s *speed) of(n int64) float64 {
	now := time.Now()
	rate := 0.0
	if !s.last.IsZero() {
		rate = float64(n-s.n) / now.Sub(s.last).Seconds()
	}
	s.last, s.n = now, n
	return rate
}
