package bench

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress shows the progress of a run as a line on a terminal. The zero Progress shows nothing.
type Progress struct {
	Terminal io.Writer

	mu sync.Mutex // guards Terminal
}

// show replaces the line.
func (p *Progress) show(line string) {
	if p == nil || p.Terminal == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.Terminal, "\r\x1b[K%s", line)
}

// Clear clears the line.
func (p *Progress) Clear() { p.show("") }

// every replaces the line each second, until stop is called.
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
				p.show(line())
			}
		}
	}()
	return func() { close(quit); <-done; p.Clear() }
}

// rateCounter computes the rate of a counter between two calls of rate.
type rateCounter struct {
	last time.Time
	n    int64
}

// rate returns by how much the counter has grown per second since the last call. n is its current value. The first call
// returns 0.
func (r *rateCounter) rate(n int64) float64 {
	now := time.Now()
	rate := 0.0
	if !r.last.IsZero() {
		rate = float64(n-r.n) / now.Sub(r.last).Seconds()
	}
	r.last, r.n = now, n
	return rate
}
