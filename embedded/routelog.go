package embedded

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// routeErrorPrefix begins a line of nats-server about a failed attempt to connect to another node, once a second.
	routeErrorPrefix = "Error trying to connect to route (attempt "
	// routeErrorAge is how long after a failed attempt a node counts as unreachable.
	routeErrorAge = 4 * time.Second
)

// routeErrors logs the failed attempts to connect to other nodes: the first one of each outage.
type routeErrors struct {
	log *slog.Logger

	mu     sync.Mutex           // guards failed
	failed map[string]time.Time // the last failed attempt, by what failed
}

func newRouteErrors(log *slog.Logger) *routeErrors {
	return &routeErrors{log: log, failed: make(map[string]time.Time)}
}

// add logs or notes a failed attempt. ok is false if the line is about something else.
func (r *routeErrors) add(line string) (ok bool) {
	rest, ok := strings.CutPrefix(line, routeErrorPrefix)
	if !ok {
		return false
	}
	_, what, ok := strings.Cut(rest, "): ")
	if !ok {
		return false
	}
	r.mu.Lock()
	before := r.failed[what]
	r.failed[what] = time.Now()
	r.mu.Unlock()
	level := slog.LevelDebug
	if time.Since(before) > routeErrorAge {
		level = slog.LevelWarn
	}
	r.log.Log(context.Background(), level, "cannot connect to a node of the cluster; retrying", "err", what)
	return true
}

// recent returns the errors of the nodes that cannot be reached at the moment.
func (r *routeErrors) recent() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for what, last := range r.failed {
		if time.Since(last) > routeErrorAge {
			delete(r.failed, what)
			continue
		}
		all = append(all, what)
	}
	slices.Sort(all)
	return all
}
