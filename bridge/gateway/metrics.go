package gateway

import "github.com/prometheus/client_golang/prometheus"

// metrics count what gateways do. The label is the name of the attachment.
type metrics struct {
	users  *prometheus.GaugeVec
	sent   *prometheus.CounterVec
	taken  *prometheus.CounterVec
	ended  *prometheus.CounterVec
	failed *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	by := []string{"gateway"}
	m := &metrics{
		users: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "imctl_gateway_users",
			Help: "Users of a gateway that are online through this node."}, by),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_gateway_sent_total",
			Help: "Dialogues that a gateway sent for its users, refused ones included."}, by),
		taken: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_gateway_relayed_total",
			Help: "Dialogues to users of a gateway that this node passed to it."}, by),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_gateway_sessions_ended_total",
			Help: "Sessions of a gateway that ended on this node."}, by),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_gateway_dropped_total",
			Help: "Dialogues and notices to users of a gateway that this node could not pass to it."}, by),
	}
	registry.MustRegister(m.users, m.sent, m.taken, m.ended, m.failed)
	return m
}
