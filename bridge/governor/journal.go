package governor

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
)

// Limited is a source that was limited.
type Limited struct {
	Reason Reason    `json:"reason"`
	Source string    `json:"source"` // an address, the id of a user, or the name of an attachment
	Count  int       `json:"count"`
	Last   time.Time `json:"last"`
}

const (
	logEvery       = time.Minute
	journalSources = 1024      // sources that are remembered
	topSources     = 20        // sources that Limited returns
	forgetAfter    = time.Hour // after the last time that a source was limited

	// failedPerSecond bounds the log lines of failed logins: enough for fail2ban, too few to fill a disk.
	failedPerSecond = 10
)

// journal counts what was refused. For each reason it logs the first refusal at once, and then the number of refusals
// in each following minute, so that clients cannot fill the log.
type journal struct {
	log     *slog.Logger
	audit   func(Limited) // as often as a line is logged
	refused *prometheus.CounterVec
	failed  prometheus.Counter

	mu      sync.Mutex // guards the fields below
	minutes map[Reason]*minute
	sources *simplelru.LRU[tableKey, Limited]
	second  time.Time // of the failed logins that were logged last
	logged  int       // in this second
	omitted int       // failed logins that were not logged
}

// minute counts the refusals of a reason after a log line.
type minute struct {
	timer  *time.Timer
	count  int
	source string // the last one
}

func newJournal(registry prometheus.Registerer, log *slog.Logger) *journal {
	sources, err := simplelru.NewLRU[tableKey, Limited](journalSources, nil)
	if err != nil {
		panic(err) // impossible: the only error is a size below 1
	}
	j := &journal{log: log, minutes: make(map[Reason]*minute), sources: sources, audit: func(Limited) {},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imctl_limited_total",
			Help: "Connections, logins, calls and frames that a limit refused or slowed down, by reason."}, []string{"reason"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_login_failures_total",
			Help: "Logins with wrong credentials, over WebSocket and NATS."})}
	registry.MustRegister(j.refused, j.failed)
	return j
}

// add notes that a limit was reached by a source.
func (j *journal) add(reason Reason, source string) {
	j.refused.WithLabelValues(string(reason)).Inc()
	k := keyOf(reason, source)
	if len(source) > maxKey {
		source = "too long"
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	l, _ := j.sources.Get(k)
	j.sources.Add(k, Limited{Reason: reason, Source: source, Count: l.Count + 1, Last: time.Now().UTC().Truncate(time.Second)})
	m := j.minutes[reason]
	if m == nil {
		m = new(minute)
		j.minutes[reason] = m
	}
	if m.timer != nil {
		m.count++
		m.source = source
		return
	}
	m.timer = time.AfterFunc(logEvery, func() { j.report(reason) })
	j.log.Warn("limit reached", "reason", string(reason), "source", source)
	j.audit(Limited{Reason: reason, Source: source, Last: time.Now()})
}

// report logs the refusals of the last minute. A minute without one ends the silence.
func (j *journal) report(reason Reason) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m := j.minutes[reason]
	if m.count == 0 {
		m.timer = nil
		return
	}
	j.log.Warn("limit reached repeatedly", "reason", string(reason), "count", m.count, "in", logEvery, "last_source", m.source)
	j.audit(Limited{Reason: reason, Source: m.source, Count: m.count, Last: time.Now()})
	m.count = 0
	m.timer.Reset(logEvery)
}

// failedLogin logs a login with wrong credentials, with the address only. A user may type a password in place of the
// account.
func (j *journal) failedLogin(address string) {
	j.failed.Inc()
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	if now.Sub(j.second) >= time.Second {
		if j.omitted > 0 {
			j.log.Info("more logins failed", "count", j.omitted)
		}
		j.second, j.logged, j.omitted = now, 0, 0
	}
	if j.logged == failedPerSecond {
		j.omitted++
		return
	}
	j.logged++
	j.log.Info("login failed", "address", address)
}

// top returns the sources that were limited most.
func (j *journal) top() []Limited {
	j.mu.Lock()
	all := j.sources.Values()
	j.mu.Unlock()
	old := time.Now().Add(-forgetAfter)
	all = slices.DeleteFunc(all, func(l Limited) bool { return l.Last.Before(old) })
	slices.SortFunc(all, func(x, y Limited) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Reason, y.Reason), cmp.Compare(x.Source, y.Source))
	})
	return all[:min(len(all), topSources)]
}

// close logs what is not logged yet.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for reason, m := range j.minutes {
		if m.timer != nil {
			m.timer.Stop()
		}
		if m.count > 0 {
			j.log.Warn("limit reached repeatedly", "reason", string(reason), "count", m.count, "last_source", m.source)
			m.count = 0
		}
	}
	if j.omitted > 0 {
		j.log.Info("more logins failed", "count", j.omitted)
		j.omitted = 0
	}
}
