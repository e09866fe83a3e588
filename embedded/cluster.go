package embedded

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
)

// Cluster makes a Server a node of a cluster of embedded servers.
type Cluster struct {
	// Name is the name of the cluster, the same on all nodes.
	Name string
	// Node is the name of this node. "" means the name in the data directory, which the first start makes.
	Node string
	// Listen is the address where the other nodes connect, host:port.
	Listen string
	// Routes are the addresses of all nodes, this one included, each as host:port.
	Routes []string
	// Secret is what all nodes share, at least MinSecret characters.
	Secret string
	// Cert, Key and CA are PEM files for the connections between nodes. If they are empty, all of them are derived from
	// Secret.
	Cert, Key, CA string
}

// clusterSettings are the settings of a node that its start has derived from a Cluster.
type clusterSettings struct {
	name     string
	host     string
	port     int
	routes   []string
	password string // of the routes
	tls      *tls.Config
}

// nodeFile has the name of the node.
const nodeFile = "node"

// Mode returns the mode of a data directory, "standalone" or "cluster", without locking it. It returns "" if no server
// has run there.
func Mode(dir string) (string, error) { return readWord(dir, modeFile) }

// ModeCluster is the mode of the data directory of a node of a cluster.
const ModeCluster = modeCluster

// NodeName returns the name of the node that a data directory belongs to, "" if it has none.
func NodeName(dir string) (string, error) { return readWord(dir, nodeFile) }

// readWord reads a file of one word in a data directory. A missing file has no word.
func readWord(dir, name string) (string, error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return "", nil // OpenDir says what is wrong
	}
	d := Dir{path: dir}
	b, err := readRegular(d.Path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", d.explain("read "+name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// claimNode returns the name of the node and stores it. JetStream's groups know a node by its name, so a directory keeps
// its name. The error says so if configured is another one.
func (d *Dir) claimNode(configured string) (string, error) {
	stored, err := NodeName(d.path)
	if err != nil {
		return "", err
	}
	switch {
	case stored == "" && configured == "":
		configured = newNodeName()
	case configured == "" || configured == stored:
		return stored, nil
	case stored != "":
		return "", fmt.Errorf("data directory %s belongs to the node %q, not to %q: set nats.cluster.node to %q, or use a new directory for a new node",
			d.path, stored, configured, stored)
	}
	return configured, d.writeFile(nodeFile, []byte(configured+"\n"))
}

// newNodeName returns the host name without its domain, and four random bytes, which keep two nodes on one host apart.
func newNodeName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "" // the random part is enough
	}
	host, _, _ = strings.Cut(host, ".")
	host = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return -1
	}, host)
	if host == "" {
		host = "node"
	}
	return host[:min(len(host), 24)] + "-" + newSecret()[:8]
}

// cluster derives the settings of a node.
func (c *Cluster) settings() (*clusterSettings, error) {
	host, port, err := splitListen(c.Listen)
	if err != nil {
		return nil, err
	}
	s := &clusterSettings{name: c.Name, host: host, port: port, routes: c.Routes, password: derive(c.Secret, "route password")}
	if c.Cert != "" {
		s.tls, err = fileTLS(c.Cert, c.Key, c.CA)
	} else {
		s.tls, err = secretTLS(c.Secret)
	}
	return s, err
}

// routeUser is the user name of routes.
const routeUser = "node"

// write writes the block of the cluster. Options that a text cannot express are set by options.
func (c *clusterSettings) write(b *strings.Builder, listens bool) {
	fmt.Fprintf(b, "cluster {\n  name: %s\n  host: %s\n  port: %d\n", quote(c.name), quote(c.host), c.port)
	// One connection for the accounts and one for the system account, which carries the heartbeats and logs of the
	// groups. A node must answer within 6 s.
	b.WriteString("  pool_size: 1\n  accounts: [" + systemAccount + "]\n  ping_interval: \"2s\"\n  ping_max: 2\n")
	if !listens {
		b.WriteString("  no_advertise: true\n") // NATS clients cannot connect to this node
	}
	b.WriteString("}\n")
	// The log of the server reports each failed attempt, and routeErrors counts them.
	b.WriteString("connect_error_reports: 1\nreconnect_error_reports: 1\n")
}

// urls returns the addresses of the routes with their password. Its own address is among them: nats-server needs the
// number of nodes to elect the first leader, and drops a connection to itself.
func (c *clusterSettings) urls() []*url.URL {
	urls := make([]*url.URL, len(c.routes))
	for i, address := range c.routes {
		urls[i] = &url.URL{Scheme: "nats-route", Host: address, User: url.UserPassword(routeUser, c.password)}
	}
	return urls
}
