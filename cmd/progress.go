package cmd

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// progressEvery is how often the line is written anew.
const progressEvery = 200 * time.Millisecond

// progressLine is a line on standard error that says how far a long command has come, where somebody watches.
type progressLine struct {
	w    io.Writer // nil: nobody watches
	last atomic.Int64
}

func startProgress(env *Env) *progressLine { return &progressLine{w: terminalOf(env.Err)} }

// say shows how far it has come, unless it did so a moment ago. It may be called from any goroutine.
func (p *progressLine) say(format string, args ...any) {
	now, last := time.Now().UnixNano(), p.last.Load()
	if p.w == nil || now-last < int64(progressEvery) || !p.last.CompareAndSwap(last, now) {
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
}

// stop clears the line.
func (p *progressLine) stop() {
	if p.w != nil && p.last.Load() != 0 {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
