package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
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
	// Protocol is the version of what nodes tell each other that the server speaks. Servers of older versions have 0.
	Protocol int `json:"protocol,omitempty"`
}

const nodePrefix = "node."

// nodeKey returns the key of one registration of a node. Each registration has its own key, so that no key is
// overwritten.
func nodeKey(id, registration string) string { return nodePrefix + id + "." + registration }

// newRegistration returns a new registration. It tells the protocol of its node, so that the keys of the list suffice.
func newRegistration(protocol int) string { return NewID()[:16] + "-" + strconv.Itoa(protocol) }

// ProtocolOf returns the protocol of the node that has made a registration, 0 for nodes of older versions.
func ProtocolOf(registration string) int {
	_, text, _ := strings.Cut(registration, "-")
	protocol, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return protocol
}

// Register adds a node to the list, and replaces its earlier registrations.
//
// Errors: only those of NATS and ctx.
func (n *Nodes) Register(ctx context.Context, node Node) error {
	_, err := n.Renew(ctx, node, "")
	return err
}

// Registrations are the registrations of the listed nodes, by the id of the node. A node that is registering again has
// two.
type Registrations map[string][]string

// Renewal is the outcome of Renew.
type Renewal struct {
	Registration string        // the new one
	Kept         bool          // the earlier registration was listed until it was replaced: the node was not struck off
	Nodes        Registrations // all that were listed at the time of the new registration, or later
}

// Renew registers a node that is listed with an earlier registration, "" for none. The new registration is stored on a
// majority of the replicas, and the list was read from a leader that has it. So what Renew returns holds even if this
// node is cut off at any moment: it was true after Renew was called.
//
// Errors: only those of NATS and ctx.
func (n *Nodes) Renew(ctx context.Context, node Node, earlier string) (Renewal, error) {
	r := Renewal{Registration: newRegistration(node.Protocol)}
	record, err := json.Marshal(node)
	if err != nil {
		return Renewal{}, fmt.Errorf("kv: encode a node: %w", err)
	}
	// This write is not refused on a nearly full disk: a node that cannot register cannot serve.
	revision, err := n.b.store(ctx, putAt(nodeKey(node.ID, r.Registration), record, 0))
	if err == nil {
		r.Nodes, err = n.listUntil(ctx, func(all Registrations) bool { return slices.Contains(all[node.ID], r.Registration) })
	}
	if err == nil && len(r.Nodes[node.ID]) > 1 {
		err = n.b.purge(ctx, nodeKey(node.ID, "*"), revision)
	}
	if err != nil {
		return Renewal{}, fmt.Errorf("kv: register a node: %w", err)
	}
	r.Kept = slices.Contains(r.Nodes[node.ID], earlier)
	r.Nodes[node.ID] = []string{r.Registration}
	return r, nil
}

// listUntil reads the list until it is good. A leader that was replaced and does not know it yet has an older list.
func (n *Nodes) listUntil(ctx context.Context, good func(Registrations) bool) (Registrations, error) {
	for {
		all, err := n.Registrations(ctx)
		if err != nil || good(all) {
			return all, err
		}
		if err := sleep(ctx, attemptPause); err != nil {
			return nil, err
		}
	}
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

// Strike strikes registrations of a node off the list, and reports whether the node is off the list then. It is not if
// it has registered again.
//
// Errors: only those of NATS and ctx.
func (n *Nodes) Strike(ctx context.Context, id string, registrations []string) (struck bool, err error) {
	for _, registration := range registrations {
		if err = n.b.purge(ctx, nodeKey(id, registration), 0); err != nil {
			break
		}
	}
	var now Registrations
	if err == nil {
		now, err = n.listUntil(ctx, func(all Registrations) bool {
			return !slices.ContainsFunc(all[id], func(r string) bool { return slices.Contains(registrations, r) })
		})
	}
	if err != nil {
		return false, fmt.Errorf("kv: strike a node off the list: %w", err)
	}
	return len(now[id]) == 0, nil
}

// IDs returns the sorted ids of all nodes that are listed at this moment.
//
// Errors: only those of NATS and ctx.
func (n *Nodes) IDs(ctx context.Context) ([]string, error) {
	all, err := n.Registrations(ctx)
	return slices.Sorted(maps.Keys(all)), err
}

// Registrations returns the registrations of all nodes that are listed at this moment. The stream's leader answers,
// since a replica may lag.
//
// Errors: only those of NATS and ctx.
func (n *Nodes) Registrations(ctx context.Context) (Registrations, error) {
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
	all := make(Registrations, len(answer.State.Subjects))
	for subject := range answer.State.Subjects {
		id, registration, _ := strings.Cut(strings.TrimPrefix(subject, n.b.prefix()+nodePrefix), ".")
		all[id] = append(all[id], registration)
	}
	return all, nil
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
