package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Nodes is the list of the servers that share the buckets. A node is listed from before it serves its first user
// until it has shut down gracefully. A node that crashed is still listed, but it does not answer.
type Nodes struct {
	b *bucket
}

// Node is a server.
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

// nodeOf returns the id of the node that a key belongs to.
func nodeOf(key string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(key, nodePrefix), ".")
	return id
}

// Register adds a node to the list, and replaces its earlier registration.
//
// Errors: only those of NATS and ctx.
func (n *Nodes) Register(ctx context.Context, node Node) error {
	record, err := json.Marshal(node)
	if err != nil {
		return fmt.Errorf("kv: encode a node: %w", err)
	}
	// This write is not refused on a nearly full disk: a node that cannot register cannot serve.
	revision, err := n.b.store(ctx, putAt(nodeKey(node.ID, NewID()[:16]), record, 0))
	if err == nil {
		err = n.b.purge(ctx, nodeKey(node.ID, "*"), revision)
	}
	if err != nil {
		return fmt.Errorf("kv: register a node: %w", err)
	}
	return nil
}

// Remove removes a node from the list: the caller itself when it shuts down, or a node that is known to have ended. A
// missing node is no error.
//
// Errors: only those of NATS and ctx.
func (n *Nodes) Remove(ctx context.Context, id string) error {
	if err := n.b.purge(ctx, nodeKey(id, "*"), 0); err != nil {
		return fmt.Errorf("kv: remove a node: %w", err)
	}
	return nil
}

// Evict removes a node that does not answer from the list, unless isDead returns false, or the node has registered
// again since Evict read its registration. A missing node is no error, and Evict does not call isDead then.
//
// Errors: only those of NATS and ctx.
func (n *Nodes) Evict(ctx context.Context, id string, isDead func() bool) error {
	e, err := n.b.getLeader(ctx, nodeKey(id, "*"))
	if errors.Is(err, errKeyNotFound) {
		return nil
	}
	if err == nil && isDead() {
		err = n.b.purge(ctx, nodeKey(id, "*"), e.revision+1)
	}
	if err != nil {
		return fmt.Errorf("kv: evict a node: %w", err)
	}
	return nil
}

// IDs returns the sorted ids of all nodes that are listed at this moment. The stream's leader answers, since a
// replica may lag.
//
// Errors: only those of NATS and ctx.
func (n *Nodes) IDs(ctx context.Context) ([]string, error) {
	request := map[string]string{"subjects_filter": n.b.prefix() + nodeKey("*", "*")}
	var answer struct {
		apiResponse
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := n.b.request(ctx, "STREAM.INFO", request, &answer); err != nil {
		return nil, fmt.Errorf("kv: list the nodes: %w", err)
	}
	ids := make([]string, 0, len(answer.State.Subjects))
	for subject := range answer.State.Subjects {
		ids = append(ids, nodeOf(strings.TrimPrefix(subject, n.b.prefix())))
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil // a node that is registering again has two keys
}

// List returns all nodes, for display. With several replicas it may be outdated.
//
// Errors: only those of NATS and ctx.
func (n *Nodes) List(ctx context.Context) ([]Node, error) {
	var nodes []Node
	// There are so few that one answer has them all; errTooMany would need a thousand crashes.
	p, err := n.b.firstPage(ctx, nodeKey("*", "*"), 1024)
	if errors.Is(err, errKeyNotFound) {
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
