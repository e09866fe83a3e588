package governor

import "time"

// ReserveGatewaySend counts a dialogue of a gateway, and returns how long it has to wait. It returns false, and does not
// count the dialogue, if that is longer than longest.
func (g *Governor) ReserveGatewaySend(gateway string, longest time.Duration) (wait time.Duration, ok bool) {
	wait, ok = g.budgets.take(GatewayDialogues, gateway, g.opts.Load().GatewayDialogues, time.Now(), longest)
	if !ok {
		g.journal.add(GatewayDialogues, gateway)
	}
	return wait, ok
}

// AllowGatewayCall counts a call of a gateway as n calls. Errors: ErrLimited.
func (g *Governor) AllowGatewayCall(gateway string, n int) error {
	return g.allow(charge{GatewayCalls, gateway, g.opts.Load().GatewayCalls.divided(n)})
}
