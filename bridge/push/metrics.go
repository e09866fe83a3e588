package push

import "github.com/prometheus/client_golang/prometheus"

// outcome is what became of a message.
type outcome int

const (
	sent         outcome = iota // the push service has taken it
	acknowledged                // a client of the user has the dialogue
	muted                       // the user has muted the conversation
	unwanted                    // the two users are no friends any more, or the request was withdrawn
	gone                        // the push service does not know the subscription any more
	refused                     // the push service has an address of a private network
	retried                     // it is sent again later
	failed                      // it is not sent again
	dropped                     // too many messages wait
	outcomes
)

var outcomeNames = [outcomes]string{"sent", "acknowledged", "muted", "unwanted", "gone", "refused", "retried", "failed", "dropped"}

type metrics struct{ counters [outcomes]prometheus.Counter }

func newMetrics(r prometheus.Registerer, s *Service) *metrics {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_push_messages_total", Help: "Push messages, by outcome."}, []string{"outcome"})
	r.MustRegister(total, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_push_waiting", Help: "Push messages that wait."},
		func() float64 { return float64(s.len()) }))
	m := new(metrics)
	for o, name := range outcomeNames {
		m.counters[o] = total.WithLabelValues(name)
	}
	return m
}

func (m *metrics) count(o outcome) { m.counters[o].Inc() }
