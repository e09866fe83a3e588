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
//	2  dialogues are delivered live while conversations cannot be stored; nodes hold leases
//	3  dialogues may have files
const Protocol = 3

// leases is the first protocol of nodes that hold a lease.
const leases = 2

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

// Speaks reports whether all listed nodes speak a protocol.
func (c *Cluster) Speaks(protocol int) bool { return c.view.Load().protocol >= protocol }

// look brings the view up to date after the cached list has changed. Called with mu held.
func (c *Cluster) look() {
	v := &view{protocol: Protocol}
	if c.self != nil {
		v.ids = append(v.ids, c.self.ID)
	}
	for id, registrations := range c.peers {
		v.ids = append(v.ids, id)
		v.protocol = min(v.protocol, max(c.spoken(id, registrations), 1))
	}
	for id := range c.told {
		if _, ok := c.peers[id]; !ok {
			delete(c.told, id)
		}
	}
	slices.Sort(v.ids)
	c.view.Store(v)
}

// spoken returns the protocol of a node. A node that was replaced by another version under the same id may be known by a
// registration or a greeting of the one before: the lowest counts, which all of them understand. Called with mu held.
func (c *Cluster) spoken(id string, registrations []string) int {
	speaks := Protocol
	if told, ok := c.told[id]; ok {
		speaks = told
	}
	for _, r := range registrations {
		speaks = min(speaks, kv.ProtocolOf(r))
	}
	return speaks
}

// logProtocol logs what all nodes speak if that is not last, and returns it.
func (c *Cluster) logProtocol(last int) int {
	ids, protocol := c.View()
	switch {
	case protocol == last:
	case protocol < Protocol:
		c.log.Warn("nodes of an older version are running: speaking their protocol until they are upgraded", "protocol", protocol, "own", Protocol, "nodes", len(ids))
	default:
		c.log.Info("all nodes speak the protocol of this version", "protocol", protocol, "nodes", len(ids))
	}
	return protocol
}
