package governor

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// The delay is random, since many answers that leave at once would come back as many requests at once.
	minRefusalDelay = time.Second
	maxRefusalDelay = 5 * time.Second

	maxDelayed = 2048 // answers that are held back; further ones leave at once
)

// Delay holds the answer to a refused login or request back if its address is refused often. Otherwise a client that
// tries again at once would cost the server a handshake or a request for each round trip. Delay returns early if ctx
// ends.
func (g *Governor) Delay(ctx context.Context, address string) {
	_, _, ok := g.budgets.takeAll(time.Now(), byAddress(Refusals, address, g.opts.Load().Refusals)...)
	if ok {
		return
	}
	defer g.delayed.Add(-1)
	if g.delayed.Add(1) > maxDelayed {
		return
	}
	timer := time.NewTimer(minRefusalDelay + rand.N(maxRefusalDelay-minRefusalDelay))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
