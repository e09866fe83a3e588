package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// IdleOptions are the options of Idle.
type IdleOptions struct {
	Connections int
	Friends     int           // friends of each user
	Settle      time.Duration // idle time before the memory is measured
	AtOnce      int           // concurrent logins
}

// IdleReport is the result of Idle.
type IdleReport struct {
	Connections int     `json:"connections"`
	Friends     int     `json:"friends"`
	Seconds     float64 `json:"seconds"` // until all were connected
	Connected   float64 `json:"connected_per_second"`
	Login       Latency `json:"login_ms"`
	KB          float64 `json:"kilobytes_per_connection"` // growth of the server's resident memory in KiB; 0 if unknown
	Server      *Usage  `json:"server"`

	plot []Series
}

// Idle opens connections, and measures how much the memory of the server has grown after they have been idle for
// o.Settle.
func Idle(ctx context.Context, t *Target, crowd Crowd, server Process, progress *Progress, o IdleOptions) (*IdleReport, error) {
	o.Friends = neighbours(o.Connections, o.Friends)
	progress.show(fmt.Sprintf("idle: creating %d accounts", o.Connections))
	people, err := crowd.Make(ctx, o.Connections, circle(o.Connections, o.Friends))
	if err != nil {
		return nil, err
	}
	before := server.sample()
	s := &sessions{target: t, meter: newMeter(time.Minute)}
	defer s.close()
	start := time.Now()
	stop := progress.every(s.progressText("idle", len(people)))
	err = s.login(ctx, people, o.AtOnce)
	stop()
	if err != nil {
		return nil, err
	}
	seconds := time.Since(start).Seconds()
	progress.show(fmt.Sprintf("idle: %d connected, idle for %s", o.Connections, o.Settle))
	if err := sleep(ctx, o.Settle); err != nil {
		return nil, err
	}
	r := &IdleReport{Connections: o.Connections, Friends: o.Friends, Seconds: seconds, Connected: float64(o.Connections) / seconds,
		Server: server.sample().since(before, int64(o.Connections)), plot: []Series{s.meter.series("login")}}
	if r.Login = r.plot[0].Whole; r.Server != nil {
		r.KB = float64(r.Server.Grown) / 1024 / float64(o.Connections)
	}
	return r, nil
}

// Plot implements Report.
func (r *IdleReport) Plot() []Series { return r.plot }

// Rows implements Report.
func (r *IdleReport) Rows() [][]string {
	rows := [][]string{
		{"load", fmt.Sprintf("%d connections, %d friends each", r.Connections, r.Friends)},
		{"connected", fmt.Sprintf("%s, all in %.1f s", perSecond(r.Connected), r.Seconds)},
		{"login", r.Login.String()},
	}
	if r.Server != nil {
		rows = append(rows, []string{"memory", fmt.Sprintf("%.1f KB per connection", r.KB)})
	}
	return append(rows, r.Server.rows("login")...)
}

// sessions holds open sessions.
type sessions struct {
	target *Target
	meter  *meter
	// open opens the session of the i-th person. nil means a login with a password.
	open func(context.Context, int) (*tunnel, error)

	loggedIn atomic.Int64
	mu       sync.Mutex // guards tunnels
	tunnels  []*tunnel
	drains   sync.WaitGroup
}

// login logs people in, up to limit at the same time. It stops at the first error.
func (s *sessions) login(ctx context.Context, people []Person, limit int) error {
	if s.open == nil {
		s.open = func(ctx context.Context, i int) (*tunnel, error) { return s.target.at(i).login(ctx, people[i]) }
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	for i := range people {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			start := time.Now()
			c, err := s.open(ctx, i)
			if err != nil {
				return err
			}
			now := time.Now()
			s.meter.record(i, now, now.Sub(start))
			s.loggedIn.Add(1)
			s.mu.Lock()
			s.tunnels = append(s.tunnels, c)
			s.mu.Unlock()
			s.drains.Go(c.drain)
			return nil
		})
	}
	return group.Wait()
}

// close closes all sessions.
func (s *sessions) close() {
	for _, c := range s.tunnels {
		c.close()
	}
	s.drains.Wait()
	s.tunnels = nil
}

// progressText returns a function that returns the text for Progress.every.
func (s *sessions) progressText(label string, total int) func() string {
	var r rateCounter
	return func() string {
		n := s.loggedIn.Load()
		return fmt.Sprintf("%s: %d of %d logged in, %.0f/s", label, n, total, r.rate(n))
	}
}
