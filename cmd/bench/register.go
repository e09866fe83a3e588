package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"imctl/kv"
)

// RegisterOptions are the options of Register.
type RegisterOptions struct {
	People int
	AtOnce int // concurrent registrations
	// Hash hashes a password like the server, on this machine. Register measures it for comparison, unless it is nil.
	Hash func(context.Context) error
}

// RegisterReport is the result of Register.
type RegisterReport struct {
	People   int     `json:"people"`
	AtOnce   int     `json:"at_once"`
	Seconds  float64 `json:"seconds"`
	Rate     float64 `json:"registrations_per_second"`
	Hashing  float64 `json:"hashes_per_second"` // rate of hashing alone on this machine; 0 if not measured
	Register Latency `json:"register_ms"`
	Server   *Usage  `json:"server"`

	plot []Series
}

// hashDuration is how long hashing alone is measured.
const hashDuration = 3 * time.Second

// Register measures concurrent registrations. At the end it calls remove with the accounts.
func Register(ctx context.Context, t *Target, server Process, progress *Progress, o RegisterOptions, remove func([]Person)) (*RegisterReport, error) {
	r := &RegisterReport{People: o.People, AtOnce: o.AtOnce}
	if o.Hash != nil {
		progress.show("register: measuring hashing alone")
		n, start := 0, time.Now()
		for ; time.Since(start) < hashDuration; n++ {
			if err := o.Hash(ctx); err != nil {
				return nil, err
			}
		}
		r.Hashing = float64(n) / time.Since(start).Seconds()
	}
	run := kv.NewID()[:8]
	people := make([]Person, o.People)
	for i := range people {
		people[i] = Person{Account: fmt.Sprintf("%s%s-%d", AccountPrefix, run, i), Password: kv.NewID()}
	}
	defer remove(people)
	var done atomic.Int64
	var rate rateCounter
	m := newMeter(30 * time.Second)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(o.AtOnce)
	before, start := server.sample(), time.Now()
	stop := progress.every(func() string {
		n := done.Load()
		return fmt.Sprintf("register: %d of %d, %.0f/s", n, o.People, rate.rate(n))
	})
	for i, p := range people {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error {
			start := time.Now()
			if err := t.register(groupCtx, p); err != nil {
				return fmt.Errorf("%w: %w", ErrRegister, err)
			}
			now := time.Now()
			m.record(i, now, now.Sub(start))
			done.Add(1)
			return nil
		})
	}
	err := group.Wait()
	stop()
	if err != nil {
		return nil, err
	}
	r.Seconds = time.Since(start).Seconds()
	r.Rate = float64(o.People) / r.Seconds
	r.Server = server.sample().since(before, int64(o.People))
	r.plot = []Series{m.series("register")}
	r.Register = r.plot[0].Whole
	return r, nil
}

// Plot implements Report.
func (r *RegisterReport) Plot() []Series { return r.plot }

// Rows implements Report.
func (r *RegisterReport) Rows() [][]string {
	rows := [][]string{
		{"load", fmt.Sprintf("%d registrations, %d concurrent, %.1f s", r.People, r.AtOnce, r.Seconds)},
		{"registrations", perSecond(r.Rate)},
	}
	if r.Hashing > 0 {
		rows = append(rows, []string{"hashing", fmt.Sprintf("%s alone, one at a time; the registration rate is %.0f %% of that", perSecond(r.Hashing), 100*r.Rate/r.Hashing)})
	}
	rows = append(rows, []string{"register", r.Register.String()})
	return append(rows, r.Server.rows("registration")...)
}
