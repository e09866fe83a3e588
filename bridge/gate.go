package bridge

import "sync/atomic"

// gate keeps calls out while a restore is about to replace everything. A call that was under way when it was shut is not
// answered with success: what it wrote may be gone.
type gate struct {
	turns atomic.Uint64 // odd while it is shut
}

// shut reports false for a gate that is shut already. One caller at a time shuts and opens.
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

// pass runs a call. Errors: ErrRestoring, and the call's own.
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

// Pass runs a call of the administration, unless a restore is about to replace everything. Errors: ErrRestoring, and the
// call's own.
func (s *Service) Pass(call func() error) error { return s.gate.pass(call) }
