package webhook

import (
	"github.com/prometheus/client_golang/prometheus"
)

// The results of an attempt, by which posts are counted.
const (
	resultOK      = "ok"
	resultFailed  = "failed"  // another answer, a time limit, or no connection
	resultGone    = "gone"    // 410: the webhook was disabled
	resultPrivate = "private" // the destination has an address of a private network
)

// The reasons for which events are lost.
const (
	lostFull      = "full"      // the stream of webhooks is full
	lostMalformed = "malformed" // the entry of the log is no event
)

// metrics count what the webhooks of this node do. There are at most kv.MaxWebhooks at a time.
type metrics struct {
	posts   *prometheus.CounterVec
	dead    *prometheus.CounterVec
	lost    *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	waiting *prometheus.GaugeVec
	failed  *prometheus.GaugeVec
	paused  *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	labels := []string{"webhook"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		posts: counter("imctl_webhook_posts_total", "Attempts to post an event, by result: ok, failed, gone or private.", "webhook", "result"),
		dead:  counter("imctl_webhook_dead_total", "Events that became dead letters.", labels...),
		lost:  counter("imctl_webhook_lost_total", "Events that became neither posted nor dead letters, by reason: full or malformed.", "webhook", "reason"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "imctl_webhook_seconds", Help: "Duration of an attempt.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 15, 60}}, labels),
		waiting: gauge("imctl_webhook_waiting", "Events that wait."),
		failed:  gauge("imctl_webhook_failed", "Dead letters."),
		paused:  gauge("imctl_webhook_failing", "1 while the destination of the webhook fails, on the node that posts."),
	}
	r.MustRegister(m.posts, m.dead, m.lost, m.seconds, m.waiting, m.failed, m.paused)
	return m
}

// forget drops the metrics of a webhook that was removed.
func (m *metrics) forget(name string) {
	label := prometheus.Labels{"webhook": name}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{m.posts, m.dead, m.lost, m.seconds, m.waiting, m.failed, m.paused} {
		v.DeletePartialMatch(label)
	}
}
