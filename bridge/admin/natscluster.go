package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natsext"
)

// Subjects of the system account.
const (
	askServers     = "$SYS.REQ.SERVER.PING.VARZ"
	askMetaLeader  = "$SYS.REQ.SERVER.PING.JSZ"
	removeFromMeta = "$JS.API.SERVER.REMOVE"
)

const (
	// clusterWait bounds the wait for the first answer of the servers.
	clusterWait = 2 * time.Second
	// clusterStall is the pause after which no further server answers.
	clusterStall = 300 * time.Millisecond
	// aliveWithin is how long after its last message to the leader a server counts as running.
	aliveWithin = 4 * time.Second
)

// NATSCluster implements Cluster by a connection to the system account.
type NATSCluster struct{ System *nats.Conn }

// unknownName begins the name of a server that NATS has not seen since its own start. The id is at the end.
const unknownName = "Server name unknown at this time (peerID: "

// PeerLabel returns the name of a server in the information about a stream, or its id if the name is unknown.
func PeerLabel(name string) string {
	if id, unknown := strings.CutPrefix(name, unknownName); unknown {
		return strings.TrimSuffix(id, ")")
	}
	return name
}

// peerID returns the id of a server in the groups of NATS, which follows from its name.
func peerID(name string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256([]byte(name))
	id := sum[:8]
	for i, b := range id {
		id[i] = digits[int(b)%len(digits)]
	}
	return string(id)
}

// serverVarz is what an answer of a server has.
type serverVarz struct {
	Server struct {
		Name    string `json:"name"`
		Version string `json:"ver"`
	} `json:"server"`
	Data struct {
		Cluster struct {
			Name string `json:"name"`
			Addr string `json:"addr"`
			Port int    `json:"cluster_port"`
		} `json:"cluster"`
	} `json:"data"`
}

// metaPeer is a server in the group that manages the streams, as the leader sees it.
type metaPeer struct {
	Name    string        `json:"name"`
	ID      string        `json:"peer"`
	Current bool          `json:"current"`
	Offline bool          `json:"offline"`
	Active  time.Duration `json:"active"` // since the leader heard from it
	Lag     uint64        `json:"lag"`
}

// heard reports whether the leader has heard from the server lately. Active is 0 if it has not since its own election.
func (p metaPeer) heard() bool {
	return !p.Offline && (p.Current || p.Active > 0 && p.Active < aliveWithin)
}

// metaLeader is the answer of the leader of that group.
type metaLeader struct {
	Data struct {
		Meta struct {
			Name   string     `json:"name"`
			Leader string     `json:"leader"`
			ID     string     `json:"peer"`
			Size   int        `json:"cluster_size"`
			Peers  []metaPeer `json:"replicas"`
		} `json:"meta_cluster"`
	} `json:"data"`
}

// Status asks all servers, and the leader for the others. Errors: those of NATS and ctx.
func (c NATSCluster) Status(ctx context.Context) (ClusterStatus, error) {
	status := ClusterStatus{Nodes: []ClusterNode{}}
	servers, err := ask[serverVarz](ctx, c.System, askServers, nil)
	if err != nil {
		return status, fmt.Errorf("ask the NATS servers: %w", err)
	}
	for _, s := range servers {
		n := ClusterNode{Name: s.Server.Name, Version: s.Server.Version, Alive: true, State: "not in the cluster"}
		if s.Data.Cluster.Name != "" {
			status.Name = s.Data.Cluster.Name
			n.Address = net.JoinHostPort(s.Data.Cluster.Addr, strconv.Itoa(s.Data.Cluster.Port))
		}
		status.Nodes = append(status.Nodes, n)
	}
	if status.Name == "" { // a single server
		for i := range status.Nodes {
			status.Nodes[i].State = "ok"
		}
		return status, nil
	}
	leaders, err := ask[metaLeader](ctx, c.System, askMetaLeader, map[string]any{"leader_only": true})
	if err != nil {
		return status, fmt.Errorf("ask the leader: %w", err)
	}
	for _, l := range leaders {
		status.add(l)
	}
	if status.Leader == "" {
		for i := range status.Nodes {
			status.Nodes[i].State = "knows no leader"
		}
	}
	slices.SortFunc(status.Nodes, func(a, b ClusterNode) int { return cmp.Compare(a.Label(), b.Label()) })
	return status, nil
}

// add adds what the leader tells.
func (s *ClusterStatus) add(l metaLeader) {
	m := l.Data.Meta
	if m.Leader == "" {
		return
	}
	s.Leader, s.Size = m.Leader, m.Size
	for _, p := range append(m.Peers, metaPeer{Name: m.Leader, ID: m.ID, Current: true}) {
		if strings.HasPrefix(p.Name, unknownName) {
			p.Name = ""
		}
		i := slices.IndexFunc(s.Nodes, func(n ClusterNode) bool { return p.Name != "" && n.Name == p.Name })
		if i < 0 {
			s.Nodes = append(s.Nodes, ClusterNode{Name: p.Name})
			i = len(s.Nodes) - 1
		}
		n := &s.Nodes[i]
		n.ID = p.ID
		n.Alive = n.Alive || p.heard() // its answer may be late
		switch {
		case !n.Alive:
			n.State = "offline"
		case p.Lag > 0:
			n.State = fmt.Sprintf("lags by %d", p.Lag)
		default:
			n.State = "ok"
		}
	}
}

// Remove removes a server by its id. Errors: those of NATS and ctx.
func (c NATSCluster) Remove(ctx context.Context, id string) error {
	request, err := json.Marshal(map[string]string{"peer_id": id})
	if err != nil {
		return err
	}
	m, err := c.System.RequestWithContext(ctx, removeFromMeta, request)
	if err != nil {
		return fmt.Errorf("remove the node %s: %w", id, err)
	}
	var answer struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("remove the node %s: %w", id, err)
	}
	if answer.Error != nil {
		return failure(Failed, "NATS does not remove the node: %s", answer.Error.Description)
	}
	return nil
}

// ask sends a request that several servers answer, and returns the answers, none if no server answers in time.
func ask[Answer any](ctx context.Context, nc *nats.Conn, subject string, request any) ([]Answer, error) {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, clusterWait)
	defer cancel()
	messages, err := natsext.RequestMany(ctx, nc, subject, body, natsext.RequestManyStall(clusterStall))
	if err != nil {
		return nil, err
	}
	var answers []Answer
	for m, err := range messages {
		if err != nil {
			return answers, err
		}
		var a Answer
		if err := json.Unmarshal(m.Data, &a); err != nil {
			return answers, err
		}
		answers = append(answers, a)
	}
	return answers, nil
}
