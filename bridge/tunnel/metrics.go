package tunnel

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/wire"
)

// metrics count logins and sessions.
type metrics struct {
	registry   prometheus.Registerer
	logins     *prometheus.CounterVec
	cutOff     prometheus.Counter
	unanswered prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		registry: r,
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_logins_total",
			Help: "Logins, by the code of their answer and its outcome: admitted, refused or failed."}, []string{"outcome", "code"}),
		cutOff: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_sessions_cut_off_total",
			Help: "Sessions ended because the client was silent."}),
		unanswered: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_dialogues_unanswered_total",
			Help: "Frames that were not answered because the session ended first."}),
	}
	r.MustRegister(m.logins, m.cutOff, m.unanswered)
	for _, code := range []wire.Code{wire.Success, wire.ProtocolError, wire.InternalError, wire.WrongCredentials} {
		m.counter(code) // so that a rate has a beginning
	}
	return m
}

// sessionsDesc has no total: the kinds add up to it.
var sessionsDesc = prometheus.NewDesc("imctl_sessions",
	"Connected sessions, by kind: contract (WebSocket), keep (WebSocket with keep=1) and nats (clients of the embedded NATS server's listener).",
	[]string{"kind"}, nil)

// observe registers the gauges that are read from the tunnel.
func (m *metrics) observe(t *Tunnel) { m.registry.MustRegister(sessionsCollector{t}) }

// sessionsCollector collects the numbers of sessions by kind.
type sessionsCollector struct{ t *Tunnel }

// Describe implements prometheus.Collector.
func (c sessionsCollector) Describe(out chan<- *prometheus.Desc) { out <- sessionsDesc }

// Collect implements prometheus.Collector.
func (c sessionsCollector) Collect(out chan<- prometheus.Metric) {
	contract, keep := c.t.Kinds()
	gauge := func(kind string, n int) {
		out <- prometheus.MustNewConstMetric(sessionsDesc, prometheus.GaugeValue, float64(n), kind)
	}
	gauge("contract", contract)
	gauge("keep", keep)
	if c.t.opts.NATSClients != nil {
		gauge("nats", c.t.opts.NATSClients())
	}
}

func (m *metrics) login(c wire.Code) { m.counter(c).Inc() }

func (m *metrics) counter(c wire.Code) prometheus.Counter {
	outcome := "refused"
	switch c {
	case wire.Success:
		outcome = "admitted"
	case wire.InternalError:
		outcome = "failed"
	}
	return m.logins.WithLabelValues(outcome, strconv.Itoa(int(c)))
}
