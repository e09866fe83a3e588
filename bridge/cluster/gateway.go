package cluster

import "context"

// GatewayOpened tells that a gateway has opened a session, which ends its earlier ones. A later session has a higher
// revision.
type GatewayOpened struct {
	Gateway  string `json:"gateway"`
	Revision uint64 `json:"revision"`
}

// GatewayChanged tells that a gateway was added, or removed.
type GatewayChanged struct {
	Gateway string `json:"gateway"`
}

func (GatewayOpened) op() string  { return "gateway_opened" }
func (GatewayChanged) op() string { return "gateway_changed" }

// GatewayChanged has all nodes take notice that a gateway was added or removed.
func (c *Cluster) GatewayChanged(ctx context.Context, name string) error {
	return c.Broadcast(ctx, GatewayChanged{name})
}
