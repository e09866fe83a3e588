package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// IdleOptions are connections that say nothing.
type IdleOptions struct {
	Connections int
	Friends     int           // of each, among them
	Settle      time.Duration // before the memory is looked at
	AtOnce      int           // how many connect side by side
}

// IdleReport is what they cost.
type IdleReport struct {
	Connections int     `json:"connections"`
	Friends     int     `json:"friends"`
	Seconds     float64 `json:"seconds"` // until all were connected
	Connected   float64 `json:"connected_per_second"`
	Login       Latency `json:"login_ms"`
	KB          float64 `json:"kilobytes_per_connection"` // of the server's resident memory, in units of 1,024 bytes; 0 where it is not known
	Server      *Usage  `json:"server"`

	plot []Series
}

// Idle opens connections, and tells what the server's memory has grown by when they have been quiet for a while.
func Idle(ctx context.Context, t *Target, crowd Crowd, server Process, progress *Progress, o IdleOptions) (*IdleReport, error) {
	o.Friends = neighbours(o.Connections, o.Friends)
	progress.say(fmt.Sprintf("idle: making %d people", o.Connections))
	people, err := crowd.Make(ctx, o.Connections, circle(o.Connections, o.Friends))
	if err != nil {
		return nil, err
	}
	before := server.look()
	h := &hall{target: t, meter: newMeter(time.Minute)}
	defer h.leave()
	began := time.Now()
	stop := progress.every(h.line("idle", len(people)))
	err = h.enter(ctx, people, o.AtOnce)
	stop()
	if err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	progress.say(fmt.Sprintf("idle: %d connected, quiet for %s", o.Connections, o.Settle))
	if err := pause(ctx, o.Settle); err != nil {
		return nil, err
	}
	r := &IdleReport{Connections: o.Connections, Friends: o.Friends, Seconds: took, Connected: float64(o.Connections) / took,
		Server: server.look().since(before, int64(o.Connections)), plot: []Series{h.meter.series("login")}}
	if r.Login = r.plot[0].Whole; r.Server != nil {
		r.KB = float64(r.Server.Grown) / 1024 / float64(o.Connections)
	}
	return r, nil
}

// Plot returns the latencies to plot.
func (r *IdleReport) Plot() []Series { return r.plot }

// Rows are the report as a table.
func (r *IdleReport) Rows() [][]string {
	rows := [][]string{
		{"load", fmt.Sprintf("%d connections, %d friends each", r.Connections, r.Friends)},
		{"connected", fmt.Sprintf("%s, all in %.1f s", perSecond(r.Connected), r.Seconds)},
		{"login", r.Login.String()},
	}
	if r.Server != nil {
		rows = append(rows, []string{"memory", fmt.Sprintf("%.1f KB a connection", r.KB)})
	}
	return append(rows, r.Server.rows("login")...)
}

// hall holds connections that are open.
type hall struct {
	target *Target
	meter  *meter
	// open opens the connection of a person; nil: a login by password.
	open func(context.Context, int) (*tunnel, error)

	entered atomic.Int64
	mu      sync.Mutex // guards held
	held    []*tunnel
	work    sync.WaitGroup
}

// enter connects people, some side by side, up to the first who is refused.
func (h *hall) enter(ctx context.Context, people []Person, atOnce int) error {
	if h.open == nil {
		h.open = func(ctx context.Context, i int) (*tunnel, error) { return h.target.login(ctx, people[i]) }
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range people {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			began := time.Now()
			c, err := h.open(ctx, i)
			if err != nil {
				return err
			}
			now := time.Now()
			h.meter.record(i, now, now.Sub(began))
			h.entered.Add(1)
			h.mu.Lock()
			h.held = append(h.held, c)
			h.mu.Unlock()
			h.work.Go(c.drain)
			return nil
		})
	}
	return group.Wait()
}

// leave closes all connections.
func (h *hall) leave() {
	for _, c := range h.held {
		c.close()
	}
	h.work.Wait()
	h.held = nil
}

func (h *hall) line(what string, all int) func() string {
	var s speed
	return func() string {
		n := h.entered.Load()
		return fmt.Sprintf("%s: %d of %d logged in, %.0f a second", what, n, all, s.of(n))
	}
}
