package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
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

func nodeKey(id string) string { return "node." + id }

// Register lists a node.
func (n *Nodes) Register(ctx context.Context, node Node) error {
	record, err := json.Marshal(node)
	if err != nil {
		return fmt.Errorf("kv: encode a node: %w", err)
	}
	if _, err := n.b.write(ctx, put(nodeKey(node.ID), record)); err != nil {
		return fmt.Errorf("kv: register a node: %w", err)
	}
	return nil
}

// Remove takes a node off the list: itself when it ends, another that is known to have ended.
func (n *Nodes) Remove(ctx context.Context, id string) error {
	if err := n.b.purge(ctx, nodeKey(id), 0); err != nil {
		return fmt.Errorf("kv: remove a node: %w", err)
	}
	return nil
}

// List returns all nodes.
func (n *Nodes) List(ctx context.Context) ([]Node, error) {
	var nodes []Node
	// So few that one answer holds them all; errTooMany would need a thousand crashes.
	p, err := n.b.matching(ctx, nodeKey("*"), 1024)
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
		nodes = append(nodes, node)
	}
	return nodes, nil
}
