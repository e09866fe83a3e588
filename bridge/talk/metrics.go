package talk

import "github.com/prometheus/client_golang/prometheus"

// metrics count the dialogues of conversations.
type metrics struct {
	stored, again, failed, conflicts, live, dropped prometheus.Counter
	group, commit                                   prometheus.Observer
}

func newMetrics(r prometheus.Registerer, s *Service) *metrics {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_dialogues_kept_total",
		Help: "Dialogues that were to be kept: stored, again (an id that was stored before), or failed."}, []string{"outcome"})
	conflicts := prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_dialogues_conflicts_total",
		Help: "Records that another node's record made invalid, and that were numbered anew."})
	group := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_dialogues_group",
		Help: "Dialogues in one commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 14)})
	commit := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imctl_dialogues_commit_seconds",
		Help:    "Duration of a commit.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}})
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_dialogues_waiting",
		Help: "Dialogues that wait for their commit."}, func() float64 { return float64(s.waiting()) })
	live := prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_dialogues_live_total",
		Help: "Dialogues that went to the friend without being stored first, because conversations could not be stored."})
	dropped := prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_dialogues_live_dropped_total",
		Help: "Dialogues that were delivered and never stored: too many waited for the store."})
	late := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_dialogues_live_waiting",
		Help: "Delivered dialogues that wait for the store."}, func() float64 { return float64(s.waitingLate()) })
	stalled := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_dialogues_stalled",
		Help: "1 while conversations cannot be stored."}, func() float64 {
		if s.Stalled() {
			return 1
		}
		return 0
	})
	r.MustRegister(outcomes, conflicts, group, commit, waiting, live, dropped, late, stalled)
	return &metrics{outcomes.WithLabelValues("stored"), outcomes.WithLabelValues("again"), outcomes.WithLabelValues("failed"),
		conflicts, live, dropped, group, commit}
}
