package hook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// result is how a request ended, as the metrics name it.
type result string

// The results. Those after resultDrop are not answers: hooks.on_error says what happens.
const (
	resultPass    result = "pass"
	resultReplace result = "replace"
	resultRefuse  result = "refuse"
	resultDrop    result = "drop"
	resultTimeout result = "timeout" // no answer in time
	resultInvalid result = "invalid" // an answer that means nothing
	resultAbsent  result = "absent"  // no moderator is connected that subscribes to it
	resultOpen    result = "open"    // the breaker is open, so no request was made
	resultBusy    result = "busy"    // too many requests are under way
)

// results are the results of the actions.
var results = [...]result{Pass: resultPass, Replace: resultReplace, Refuse: resultRefuse, Drop: resultDrop}

var allResults = append(results[:], resultTimeout, resultInvalid, resultAbsent, resultOpen, resultBusy)

// metrics count requests. Labels come from fixed sets.
type metrics struct {
	requests [kinds]map[result]prometheus.Counter // never changed
	seconds  [kinds]prometheus.Observer
}

func newMetrics(s *Service) *metrics {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_hook_requests_total",
		Help: "Questions to moderators, by hook and result: pass, replace, refuse or drop, or why there was no answer."}, []string{"hook", "result"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "imctl_hook_seconds",
		Help:    "Time that moderators take to answer.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}}, []string{"hook"})
	m := &metrics{}
	s.opts.Registry.MustRegister(requests, seconds)
	for k := range kinds {
		m.requests[k] = make(map[result]prometheus.Counter)
		for _, r := range allResults {
			m.requests[k][r] = requests.WithLabelValues(k.String(), string(r))
		}
		m.seconds[k] = seconds.WithLabelValues(k.String())
		s.opts.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_hook_breaker_open",
			Help: "1 while moderators do not answer a hook and are not asked.", ConstLabels: prometheus.Labels{"hook": k.String()}}, func() float64 {
			if s.breakers[k].isOpen() {
				return 1
			}
			return 0
		}))
	}
	return m
}

func (m *metrics) count(k Kind, r result) { m.requests[k][r].Inc() }

// took counts an answer.
func (m *metrics) took(k Kind, r result, d time.Duration) {
	m.count(k, r)
	m.seconds[k].Observe(d.Seconds())
}
