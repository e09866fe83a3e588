package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Nodes are the servers that share the buckets. A node is listed from before it serves its first user until it has
// ended in good order; one that crashed is still listed, and is told from the others by not answering.
type Nodes struct {
	b *bucket
}

// Node is one server.
type Node struct {
	ID      string    `json:"id"`
	Host    string    `json:"host,omitempty"`
	Version string    `json:"version,omitempty"`
	Started time.Time `json:"started"`
}

const nodePrefix = "node."

// nodeKey returns the key of one registration of a node. Each registration has its own key, so that no key is
// overwritten.
func nodeKey(id, registration string) string { return nodePrefix + id + "." + registration }

// nodeOf returns the id of the node in a key.
func nodeOf(key string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(key, nodePrefix), ".")
	return id
}

// Register adds a node to the list, and replaces its earlier registration.
func (n *Nodes) Register(ctx context.Context, node Node) error {
	record, err := json.Marshal(node)
	if err != nil {
		return fmt.Errorf("kv: encode a node: %w", err)
	}
	// A nearly full disk does not refuse this write: a node that can't register can't serve.
	revision, err := n.b.store(ctx, putAt(nodeKey(node.ID, NewID()[:16]), record, 0))
	if err == nil {
		err = n.b.purge(ctx, nodeKey(node.ID, "*"), revision)
	}
	if err != nil {
		return fmt.Errorf("kv: register a node: %w", err)
	}
	return nil
}

// Remove takes a node off the list: itself when it ends, another that is known to have ended.
func (n *Nodes) Remove(ctx context.Context, id string) error {
	if err := n.b.purge(ctx, nodeKey(id, "*"), 0); err != nil {
		return fmt.Errorf("kv: remove a node: %w", err)
	}
	return nil
}

// Strike removes a node that does not answer from the list, unless ends returns false or the node has registered again
// since Strike read its registration.
func (n *Nodes) Strike(ctx context.Context, id string, ends func() bool) error {
	e, err := n.b.getLeader(ctx, nodeKey(id, "*"))
	if errors.Is(err, errNoKey) {
		return nil
	}
	if err == nil && ends() {
		err = n.b.purge(ctx, nodeKey(id, "*"), e.revision+1)
	}
	if err != nil {
		return fmt.Errorf("kv: strike a node: %w", err)
	}
	return nil
}

// IDs returns the ids of all nodes that are listed at this moment, on whatever replica one asks: it is the stream's
// leader that says so.
func (n *Nodes) IDs(ctx context.Context) ([]string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	body, err := json.Marshal(map[string]string{"subjects_filter": n.b.prefix() + nodeKey("*", "*")})
	if err != nil {
		return nil, fmt.Errorf("kv: list the nodes: %w", err)
	}
	msg, err := n.b.nc.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+n.b.stream(), body)
	if err != nil {
		return nil, fmt.Errorf("kv: list the nodes: %w", err)
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return nil, fmt.Errorf("kv: list the nodes: %w", err)
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("kv: list the nodes: %w", answer.Error)
	}
	ids := make([]string, 0, len(answer.State.Subjects))
	for subject := range answer.State.Subjects {
		ids = append(ids, nodeOf(strings.TrimPrefix(subject, n.b.prefix())))
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil // a node that is registering again has two keys
}

// List returns all nodes. It may be late, where there are several replicas: for people to look at.
func (n *Nodes) List(ctx context.Context) ([]Node, error) {
	var nodes []Node
	// So few that one answer holds them all; errTooMany would need a thousand crashes.
	p, err := n.b.matching(ctx, nodeKey("*", "*"), 1024)
	if errors.Is(err, errNoKey) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kv: list the nodes: %w", err)
	}
	for _, e := range p.entries {
		if e.deleted {
			continue
		}
		var node Node
		if err := json.Unmarshal(e.value, &node); err != nil {
			return nil, fmt.Errorf("kv: decode a node: %w", err)
		}
		// The latest registration counts.
		nodes = append(slices.DeleteFunc(nodes, func(n Node) bool { return n.ID == node.ID }), node)
	}
	return nodes, nil
}
