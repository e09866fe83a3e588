package cmd

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// progressInterval is the minimum time between two updates of the progress line.
const progressInterval = 200 * time.Millisecond

// progressLine shows the progress of a long command on standard error, if that is a terminal.
type progressLine struct {
	w    io.Writer // nil if standard error is not a terminal
	last atomic.Int64
}

func startProgress(env *Env) *progressLine { return &progressLine{w: terminalOf(env.Err)} }

// update replaces the line, unless the last update is younger than progressInterval. It is safe for concurrent use.
func (p *progressLine) update(format string, args ...any) {
	now, last := time.Now().UnixNano(), p.last.Load()
	if p.w == nil || now-last < int64(progressInterval) || !p.last.CompareAndSwap(last, now) {
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
