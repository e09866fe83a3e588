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
	dialogues *prometheus.CounterVec
	usual     map[wire.Code]prometheus.Counter // of dialogues; never changed
	seconds   prometheus.Observer
	drops     map[DropReason]prometheus.Counter
	roundTrip prometheus.Observer
}

// NewMetrics registers the metrics of dialogues.
func NewMetrics(r prometheus.Registerer) *Metrics {
	dialogues := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_dialogues_total",
		Help: "Frames of sessions and dialogues of NATS clients, by the code of their answer and its outcome: delivered, stored, offline, refused or failed."},
		[]string{"outcome", "code"})
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_dialogue_seconds",
		Help:    "Time from a dialogue's frame to its answer.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}})
	drops := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_drops_total",
		Help: "Frames that were not delivered to a session, by reason."}, []string{"reason"})
	roundTrip := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_nats_round_trip_seconds",
		Help:    "Time that NATS takes to confirm that a user is online.",
		Buckets: []float64{.00001, .00005, .0001, .0005, .001, .005, .01, .05, .1, .5, 1}})
	m := &Metrics{registry: r, dialogues: dialogues, usual: make(map[wire.Code]prometheus.Counter), seconds: seconds,
		drops: make(map[DropReason]prometheus.Counter), roundTrip: roundTrip}
	for _, code := range usualCodes {
		m.usual[code] = m.counter(code)
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

// usualCodes have a counter from the start, so that a rate has a beginning. The counter of another code begins with its
// first answer.
var usualCodes = []wire.Code{wire.Success, wire.DialogueKept, wire.ProtocolError, wire.InternalError, wire.SendFailed, wire.PeerOffline, wire.NotFriends}

// outcomeOf returns the class of the answer to a frame. An operator is concerned with failed alone: the others are the
// fault of the client or the state of the friend.
func outcomeOf(c wire.Code) string {
	switch c {
	case wire.Success:
		return "delivered"
	case wire.DialogueKept:
		return "stored"
	case wire.PeerOffline:
		return "offline"
	case wire.InternalError, wire.SendFailed:
		return "failed"
	}
	return "refused"
}

func (m *Metrics) counter(c wire.Code) prometheus.Counter {
	return m.dialogues.WithLabelValues(outcomeOf(c), strconv.Itoa(int(c)))
}

// Answered counts a frame by the code of its answer.
func (m *Metrics) Answered(c wire.Code) {
	usual, ok := m.usual[c]
	if !ok {
		usual = m.counter(c)
	}
	usual.Inc()
}

// Took observes the time from a dialogue's frame to its answer.
func (m *Metrics) Took(d time.Duration) { m.seconds.Observe(d.Seconds()) }

// Dropped counts a frame that was not delivered.
func (m *Metrics) Dropped(r DropReason) { m.drops[r].Inc() }
