package cmd

// Every connection, and every open file of the store, needs a descriptor. If the process has none left, JetStream
// cannot open its next file and gives up. So clients get a part of them, and the rest is reserved for the store, the
// operator and the administration.
const (
	reservedPart  = 4    // a quarter of the descriptors is reserved
	minReserved   = 64   // for a system that allows few
	maxReserved   = 1024 // the store needs no more
	natsPart      = 4    // NATS clients get a quarter of the rest
	maxClients    = 1 << 18
	maxGuests     = 4096 // connections without a login; each costs about 20 KB
	fewestClients = 16
)

// clientDescriptors returns how many connections people and NATS clients may have, of n descriptors.
func clientDescriptors(n int) (people, programs int) {
	n = min(n, maxClients)
	rest := max(n-min(max(n/reservedPart, minReserved), maxReserved), 2*fewestClients)
	programs = rest / natsPart
	return rest - programs, programs
}

// fewestNATS leaves room for the connections of imctl itself, which NATS counts too.
const fewestNATS = 64

// natsConnections returns the limit of connections to the embedded NATS server.
func (c *Config) natsConnections() int {
	if c.NATS.Connections > 0 {
		return c.NATS.Connections
	}
	_, programs := clientDescriptors(descriptors())
	return max(programs, fewestNATS)
}

// connections returns the limit of people's connections.
func (c *Config) connections() int {
	if c.Limits.Connections > 0 {
		return c.Limits.Connections
	}
	people, _ := clientDescriptors(descriptors())
	return people
}
