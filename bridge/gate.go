package bridge

import "sync/atomic"

// gate refuses calls while a restore replaces the data. A call that was under way when the gate was shut fails too, since
// the restore may undo its writes.
type gate struct {
	turns atomic.Uint64 // counts shut and open: odd while it is shut
}

// shut shuts the gate. It returns false if the gate is shut already. shut and open must not be called concurrently.
func (g *gate) shut() bool {
	if g.isShut() {
		return false
	}
	g.turns.Add(1)
	return true
}

func (g *gate) open() {
	if g.isShut() {
		g.turns.Add(1)
	}
}

func (g *gate) isShut() bool { return g.turns.Load()%2 == 1 }

// pass runs a call, unless the gate is shut. Errors: ErrRestoring, and the call's own.
func (g *gate) pass(call func() error) error {
	before := g.turns.Load()
	if before%2 == 1 {
		return ErrRestoring
	}
	err := call()
	if g.turns.Load() != before {
		return ErrRestoring
	}
	return err
}

// Pass runs an administration call, unless a restore is replacing the data. Errors: ErrRestoring, and the call's own.
func (s *Service) Pass(call func() error) error { return s.gate.pass(call) }
