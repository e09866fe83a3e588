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
			Help: "Logins, by the code of their answer."}, []string{"code"}),
		cutOff: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_sessions_cut_off_total",
			Help: "Sessions ended because the client was silent."}),
		unanswered: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_dialogues_unanswered_total",
			Help: "Frames that were not answered because the session ended first."}),
	}
	r.MustRegister(m.logins, m.cutOff, m.unanswered)
	return m
}

// observe registers the gauges that are read from the tunnel.
func (m *metrics) observe(t *Tunnel) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_sessions", Help: "Connected sessions."},
		func() float64 { return float64(t.Len()) }))
}

func (m *metrics) login(c wire.Code) { m.logins.WithLabelValues(strconv.Itoa(int(c))).Inc() }
