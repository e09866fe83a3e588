package bridge

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/wire"
)

// dropReason says why a frame was not delivered to a session.
type dropReason string

const (
	dropBufferFull dropReason = "buffer_full" // the session does not read as fast as it is written to
	dropClosed     dropReason = "closed"      // the session ended first
	dropNotice     dropReason = "notice"      // no room even for a notice: the session was ended
	dropSendQueue  dropReason = "send_queue"  // NATS clients send faster than their dialogues go out
)

// metrics count what the bridge does. Labels are of fixed sets: never a name, an id or an address.
type metrics struct {
	registry  prometheus.Registerer
	dialogues map[wire.Code]prometheus.Counter
	delivery  prometheus.Observer
	logins    *prometheus.CounterVec
	calls     *prometheus.HistogramVec
	drops     map[dropReason]prometheus.Counter
	roundTrip prometheus.Observer
	silent    prometheus.Counter
	noAnswer  prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	dialogues := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_dialogues_total",
		Help: "Frames of sessions by the code that they were answered with."}, []string{"code"})
	delivery := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_dialogue_seconds",
		Help:    "From a dialogue's frame to its answer.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}})
	drops := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_drops_total",
		Help: "Frames that a session was not given, by reason."}, []string{"reason"})
	roundTrip := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_nats_round_trip_seconds",
		Help:    "How long NATS takes to confirm that a user is online.",
		Buckets: []float64{.00001, .00005, .0001, .0005, .001, .005, .01, .05, .1, .5, 1}})
	silent := prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_sessions_cut_off_total",
		Help: "Sessions ended because the client was silent."})
	noAnswer := prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_dialogues_unanswered_total",
		Help: "Frames that were not answered because the session ended first."})
	m := &metrics{
		silent:    silent,
		noAnswer:  noAnswer,
		registry:  r,
		dialogues: make(map[wire.Code]prometheus.Counter),
		delivery:  delivery,
		drops:     make(map[dropReason]prometheus.Counter),
		roundTrip: roundTrip,
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_logins_total",
			Help: "Logins by the code that they were answered with."}, []string{"code"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "imctl_call_seconds",
			Help: "HTTP calls by name and code.", Buckets: prometheus.DefBuckets}, []string{"call", "code"}),
	}
	for _, i := range wire.All() {
		m.dialogues[i.Code] = dialogues.WithLabelValues(strconv.Itoa(int(i.Code)))
	}
	for _, reason := range []dropReason{dropBufferFull, dropClosed, dropNotice, dropSendQueue} {
		m.drops[reason] = drops.WithLabelValues(string(reason))
	}
	r.MustRegister(dialogues, delivery, drops, roundTrip, silent, noAnswer, m.logins, m.calls)
	return m
}

// observe adds what is read from the bridge when somebody asks.
func (m *metrics) observe(b *Bridge) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_sessions", Help: "Sessions that are connected."},
			func() float64 { return float64(b.Len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_users_online", Help: "Users with a session on this node."},
			func() float64 { return float64(b.usersOnline()) }))
}

func (m *metrics) dialogue(c wire.Code) { m.dialogues[c].Inc() }

func (m *metrics) dialogueTook(d time.Duration) { m.delivery.Observe(d.Seconds()) }

func (m *metrics) login(c wire.Code) { m.logins.WithLabelValues(strconv.Itoa(int(c))).Inc() }

func (m *metrics) call(name string, c wire.Code, took time.Duration) {
	m.calls.WithLabelValues(name, strconv.Itoa(int(c))).Observe(took.Seconds())
}

func (m *metrics) dropped(r dropReason) { m.drops[r].Inc() }

func (m *metrics) cutOff() { m.silent.Inc() }

func (m *metrics) unanswered(n int) { m.noAnswer.Add(float64(n)) }
