package bridge

import "github.com/prometheus/client_golang/prometheus"

// logMetrics count what the event log does.
type logMetrics struct {
	registry prometheus.Registerer
	entries  prometheus.Counter
	lost     prometheus.Counter
	group    prometheus.Observer
	commit   prometheus.Observer
}

func newLogMetrics(r prometheus.Registerer) *logMetrics {
	entries := prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_log_entries_total",
		Help: "Entries that the event log has stored."})
	lost := prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_log_lost_total",
		Help: "Events that are not in the log although it has consumers; dialogues that were refused for it are not among them."})
	group := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_log_group_entries",
		Help: "Entries that were committed together.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)})
	commit := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_log_commit_seconds",
		Help:    "How long a commit took that succeeded.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}})
	r.MustRegister(entries, lost, group, commit)
	return &logMetrics{registry: r, entries: entries, lost: lost, group: group, commit: commit}
}

// observe adds what is read from the log when somebody asks.
func (m *logMetrics) observe(l *EventLog) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_log_queue", Help: "Entries that wait for their commit."},
			func() float64 { return float64(l.writer.len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_log_consumers", Help: "Consumers of the event log at the last look."},
			func() float64 { return float64(l.consumers.Load()) }))
}
