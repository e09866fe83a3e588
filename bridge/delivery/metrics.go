package delivery

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/wire"
)

// DropReason says why a frame was not delivered to a session.
type DropReason string

// The reasons.
const (
	DropBufferFull DropReason = "buffer_full" // the client does not read as fast as frames arrive
	DropClosed     DropReason = "closed"      // the session ended first
	DropNotice     DropReason = "notice"      // no room for a notice: the session gets the current state later
	DropEcho       DropReason = "echo"        // no room for a dialogue of another session of the user: the session was ended
	DropSendQueue  DropReason = "send_queue"  // NATS clients send faster than their dialogues are delivered
)

// Metrics count dialogues. Labels come from fixed sets: never a name, an id or an address.
type Metrics struct {
	registry  prometheus.Registerer
	dialogues map[wire.Code]prometheus.Counter
	seconds   prometheus.Observer
	drops     map[DropReason]prometheus.Counter
	roundTrip prometheus.Observer
}

// NewMetrics registers the metrics of dialogues.
func NewMetrics(r prometheus.Registerer) *Metrics {
	dialogues := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_dialogues_total",
		Help: "Frames of sessions, by the code of their answer."}, []string{"code"})
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_dialogue_seconds",
		Help:    "Time from a dialogue's frame to its answer.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}})
	drops := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_drops_total",
		Help: "Frames that were not delivered to a session, by reason."}, []string{"reason"})
	roundTrip := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_nats_round_trip_seconds",
		Help:    "Time that NATS takes to confirm that a user is online.",
		Buckets: []float64{.00001, .00005, .0001, .0005, .001, .005, .01, .05, .1, .5, 1}})
	m := &Metrics{registry: r, dialogues: make(map[wire.Code]prometheus.Counter), seconds: seconds,
		drops: make(map[DropReason]prometheus.Counter), roundTrip: roundTrip}
	for _, i := range wire.All() {
		m.dialogues[i.Code] = dialogues.WithLabelValues(strconv.Itoa(int(i.Code)))
	}
	for _, reason := range []DropReason{DropBufferFull, DropClosed, DropNotice, DropEcho, DropSendQueue} {
		m.drops[reason] = drops.WithLabelValues(string(reason))
	}
	r.MustRegister(dialogues, seconds, drops, roundTrip)
	return m
}

// Observe registers the gauges that are read from the lanes.
func (m *Metrics) Observe(l *Lanes) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_users_online", Help: "Users with a session on this node."},
		func() float64 { return float64(l.Len()) }))
}

// Answered counts a frame by the code of its answer.
func (m *Metrics) Answered(c wire.Code) { m.dialogues[c].Inc() }

// Took observes the time from a dialogue's frame to its answer.
func (m *Metrics) Took(d time.Duration) { m.seconds.Observe(d.Seconds()) }

// Dropped counts a frame that was not delivered.
func (m *Metrics) Dropped(r DropReason) { m.drops[r].Inc() }
