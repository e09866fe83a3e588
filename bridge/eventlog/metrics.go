package eventlog

import "github.com/prometheus/client_golang/prometheus"

// metrics count the entries of the event log.
type metrics struct {
	registry prometheus.Registerer
	entries  prometheus.Counter
	lost     prometheus.Counter
	group    prometheus.Observer
	commit   prometheus.Observer
}

func newMetrics(r prometheus.Registerer) *metrics {
	entries := prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_log_entries_total",
		Help: "Entries stored in the event log."})
	lost := prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_log_lost_total",
		Help: "Events that could not be written although the log has consumers. Refused dialogues are not included."})
	group := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_log_group_entries",
		Help: "Entries in one commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)})
	commit := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_log_commit_seconds",
		Help:    "Duration of a successful commit.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}})
	r.MustRegister(entries, lost, group, commit)
	return &metrics{registry: r, entries: entries, lost: lost, group: group, commit: commit}
}

// observe registers the gauges that are read from the log.
func (m *metrics) observe(l *Log) {
	m.registry.MustRegister(usageCollector{l},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_log_queue", Help: "Entries waiting for their commit."},
			func() float64 { return float64(l.writer.len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_log_consumers", Help: "Consumers of the event log at the last count."},
			func() float64 { return float64(l.consumers.Load()) }))
}
