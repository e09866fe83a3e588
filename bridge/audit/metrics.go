package audit

import "github.com/prometheus/client_golang/prometheus"

// metrics count the entries of the audit trail.
type metrics struct{ entries, lost prometheus.Counter }

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		entries: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_audit_entries_total",
			Help: "Entries stored in the audit trail."}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_audit_lost_total",
			Help: "Entries of the audit trail that were lost, since too many waited to be stored, or at a shutdown."})}
	r.MustRegister(m.entries, m.lost)
	return m
}
