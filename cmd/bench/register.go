package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"imctl/kv"
)

// RegisterOptions are registrations by the protocol.
type RegisterOptions struct {
	People int
	AtOnce int // how many register side by side
	// Hash hashes a password as the server does, on this machine: what it alone takes is measured for comparison. Nil: it is not.
	Hash func(context.Context) error
}

// RegisterReport is what came of it.
type RegisterReport struct {
	People   int     `json:"people"`
	AtOnce   int     `json:"at_once"`
	Seconds  float64 `json:"seconds"`
	Rate     float64 `json:"registrations_per_second"`
	Hashing  float64 `json:"hashes_per_second"` // that this machine could do, and nothing else; 0 where that is not known
	Register Latency `json:"register_ms"`
	Server   *Usage  `json:"server"`

	plot []Series
}

// hashing is how long hashing alone is measured.
const hashing = 3 * time.Second

// Register has people register, and remove removes them afterwards, by their accounts.
func Register(ctx context.Context, t *Target, server Process, progress *Progress, o RegisterOptions, remove func([]Person)) (*RegisterReport, error) {
	r := &RegisterReport{People: o.People, AtOnce: o.AtOnce}
	if o.Hash != nil {
		progress.say("register: hashing alone")
		n, began := 0, time.Now()
		for ; time.Since(began) < hashing; n++ {
			if err := o.Hash(ctx); err != nil {
				return nil, err
			}
		}
		r.Hashing = float64(n) / time.Since(began).Seconds()
	}
	run := kv.NewID()[:8]
	people := make([]Person, o.People)
	for i := range people {
		people[i] = Person{Account: fmt.Sprintf("%s%s-%d", AccountPrefix, run, i), Password: kv.NewID()}
	}
	defer remove(people)
	var done atomic.Int64
	var s speed
	m := newMeter(30 * time.Second)
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(o.AtOnce)
	before, began := server.look(), time.Now()
	stop := progress.every(func() string {
		n := done.Load()
		return fmt.Sprintf("register: %d of %d, %.0f a second", n, o.People, s.of(n))
	})
	for i, p := range people {
		if running.Err() != nil {
			break
		}
		group.Go(func() error {
			began := time.Now()
			if err := t.register(running, p); err != nil {
				return fmt.Errorf("register: %w", err)
			}
			now := time.Now()
			m.record(i, now, now.Sub(began))
			done.Add(1)
			return nil
		})
	}
	err := group.Wait()
	stop()
	if err != nil {
		return nil, err
	}
	r.Seconds = time.Since(began).Seconds()
	r.Rate = float64(o.People) / r.Seconds
	r.Server = server.look().since(before, int64(o.People))
	r.plot = []Series{m.series("register")}
	r.Register = r.plot[0].Whole
	return r, nil
}

// Plot returns the latencies to plot.
func (r *RegisterReport) Plot() []Series { return r.plot }

// Rows are the report as a table.
func (r *RegisterReport) Rows() [][]string {
	rows := [][]string{
		{"load", fmt.Sprintf("%d people, %d side by side, %.1f s", r.People, r.AtOnce, r.Seconds)},
		{"registrations", perSecond(r.Rate)},
	}
	if r.Hashing > 0 {
		rows = append(rows, []string{"hashing", fmt.Sprintf("%s one after the other and nothing else; registrations are %.0f %% of that", perSecond(r.Hashing), 100*r.Rate/r.Hashing)})
	}
	rows = append(rows, []string{"register", r.Register.String()})
	return append(rows, r.Server.rows("registration")...)
}
