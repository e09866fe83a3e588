package im

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// ErrRestoring: a restore is past the point of no return and not complete.
var ErrRestoring = errors.New("a restore is not complete")

// Gate refuses calls while a restore replaces the data. A call that is under way when the gate closes fails too, since
// the restore may undo its writes. The zero value is open.
type Gate struct {
	changes atomic.Uint64 // counts Close and Open: odd while the gate is closed
}

// Close closes the gate. It returns false if the gate is closed already. Close and Open must not be called
// concurrently.
func (g *Gate) Close() bool {
	if g.Closed() {
		return false
	}
	g.changes.Add(1)
	return true
}

// Open opens the gate.
func (g *Gate) Open() {
	if g.Closed() {
		g.changes.Add(1)
	}
}

// Closed reports whether a restore is replacing the data.
func (g *Gate) Closed() bool { return g.changes.Load()%2 == 1 }

// Err returns an ErrRestoring with its remedy while the gate is closed, and otherwise nil.
func (g *Gate) Err() error {
	if g.Closed() {
		return fmt.Errorf("%w: if it was interrupted, complete it with imctl restore --complete", ErrRestoring)
	}
	return nil
}

// Pass runs a call, unless the gate is closed. Errors: ErrRestoring, and the call's own.
func (g *Gate) Pass(call func() error) error {
	before := g.changes.Load()
	if before%2 == 1 {
		return ErrRestoring
	}
	err := call()
	if g.changes.Load() != before {
		return ErrRestoring
	}
	return err
}
