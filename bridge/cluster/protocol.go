package cluster

import (
	"slices"

	"imctl/kv"
)

// Protocol is the version of what nodes tell each other that this program speaks. It grows when a node of an older version
// would misunderstand a newer one. Each node announces its version with its registration, and a node speaks the lowest
// version of all nodes that are listed.
//
//	1  nothing is announced
//	2  dialogues are relayed to the home of their conversation, and delivered live while conversations cannot be stored
const Protocol = 2

// view is what a node knows of all nodes, itself included.
type view struct {
	ids      []string // sorted
	protocol int      // the lowest of all
}

// View returns the ids of all listed nodes, as far as this node knows, and the protocol that all of them speak. The
// caller must not change the slice.
func (c *Cluster) View() (ids []string, protocol int) {
	v := c.view.Load()
	return v.ids, v.protocol
}

// look brings the view up to date after the cached list has changed. Called with mu held.
func (c *Cluster) look() {
	v := &view{protocol: Protocol}
	if c.self != nil {
		v.ids = append(v.ids, c.self.ID)
	}
	for id, registrations := range c.peers {
		v.ids = append(v.ids, id)
		speaks := c.told[id]
		for _, r := range registrations {
			speaks = max(speaks, kv.ProtocolOf(r))
		}
		v.protocol = min(v.protocol, max(speaks, 1))
	}
	for id := range c.told {
		if _, ok := c.peers[id]; !ok {
			delete(c.told, id)
		}
	}
	slices.Sort(v.ids)
	c.view.Store(v)
}
