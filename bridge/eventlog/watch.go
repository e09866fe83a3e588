package eventlog

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// The log warns when its size, or the age of the oldest entry that a consumer needs, reaches these parts of the limit.
const (
	warnPercent  = 50
	alarmPercent = 80
	// slackPercent is how far a figure must fall below a level until reaching it again is a new warning.
	slackPercent = 10
)

// maxLabels bounds the consumers that have metrics of their own.
const maxLabels = 64

// Usage returns the last reading of the log's usage. It is zero before the first one.
func (l *Log) Usage() Usage {
	u := l.usage.Load()
	if u == nil {
		return Usage{}
	}
	usage := *u
	usage.Refusing = l.refusing.Load() && usage.Percent() >= warnPercent
	return usage
}

// Degraded returns what is wrong with the log, "" for nothing.
func (l *Log) Degraded() string { return l.Usage().Degraded(l.opts.OnError) }

// Watched returns a channel that receives a value after the usage was read. A value that is not received is dropped if
// another one follows.
func (l *Log) Watched() <-chan struct{} { return l.watched }

// readUsage reads the usage and warns of it.
func (l *Log) readUsage(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	if l.paused.Load() {
		return nil
	}
	began := time.Now()
	u, err := l.reader.Read(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // the next count creates it
	}
	if err != nil {
		return err
	}
	l.usage.Store(&u)
	l.noteWanted(u, began)
	l.noteOffline(u, began)
	if u.Entries > 0 {
		l.unpruned.CompareAndSwap(0, 1) // another node has written them, and may have ended
	}
	l.warn(u)
	select {
	case l.watched <- struct{}{}:
	default:
	}
	return nil
}

// SetSeen notes when the programs of consumers were last seen, by consumer, for the metrics.
func (l *Log) SetSeen(seen map[string]time.Time) { l.seen.Store(&seen) }

// lastSeen returns when the program of a consumer was last seen, zero if that is unknown.
func (l *Log) lastSeen(lag Lag) time.Time {
	if seen := l.seen.Load(); seen != nil && (*seen)[lag.Name].After(lag.Seen) {
		return (*seen)[lag.Name]
	}
	return lag.Seen
}

// warn logs that a part of a limit is reached, once until the figure has fallen below it.
func (l *Log) warn(u Usage) {
	slowest, _ := u.Slowest()
	consumer := []any{"consumer", slowest.Name, "behind", slowest.Behind()}
	if percent := u.Percent(); l.size.reached(percent) {
		l.opts.Log.Warn("the event log fills up", append([]any{"percent", percent, "bytes", u.Bytes, "max_bytes", u.MaxBytes}, consumer...)...)
	}
	if percent := u.AgePercent(); l.age.reached(percent) {
		l.opts.Log.Warn("entries of the event log expire unless their consumer acknowledges them",
			append([]any{"percent", percent, "oldest", slowest.Oldest, "max_age", u.MaxAge}, consumer...)...)
	}
}

// level is the highest level that was warned about and that a figure has not left.
type level int

// reached reports whether the figure has reached a higher level.
func (l *level) reached(percent int) bool {
	if percent < int(*l)-slackPercent {
		*l = 0
		if percent >= warnPercent-slackPercent {
			*l = warnPercent
		}
	}
	now := level(0)
	switch {
	case percent >= alarmPercent:
		now = alarmPercent
	case percent >= warnPercent:
		now = warnPercent
	}
	if now <= *l {
		return false
	}
	*l = now
	return true
}

var (
	bytesDesc = prometheus.NewDesc("imctl_log_bytes", "Size of the event log at the last reading.", nil, nil)
	maxDesc   = prometheus.NewDesc("imctl_log_max_bytes", "Size at which the event log accepts no entries, -1 for no limit.", nil, nil)

	consumerLabel = []string{"consumer"}
	pendingDesc   = prometheus.NewDesc("imctl_log_consumer_pending", "Entries that a consumer of the event log has not acknowledged.", consumerLabel, nil)
	oldestDesc    = prometheus.NewDesc("imctl_log_consumer_oldest_seconds", "Age of the oldest entry that a consumer needs, 0 if it needs none.", consumerLabel, nil)
	seenDesc      = prometheus.NewDesc("imctl_log_consumer_last_seen_seconds", "Time since a consumer's last request, delivery or acknowledgement.", consumerLabel, nil)
)

// usageCollector collects the metrics of the last reading. Only durable consumers have some, at most maxLabels of them,
// the slowest: an operator names these, and the names of the others are random.
type usageCollector struct{ l *Log }

// Describe implements prometheus.Collector.
func (c usageCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{bytesDesc, maxDesc, pendingDesc, oldestDesc, seenDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c usageCollector) Collect(out chan<- prometheus.Metric) {
	u := c.l.Usage()
	if u.Read.IsZero() {
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(bytesDesc, float64(u.Bytes))
	gauge(maxDesc, float64(u.MaxBytes))
	n := 0
	for _, lag := range u.Consumers {
		if !lag.Durable {
			continue
		}
		if n++; n > maxLabels {
			return
		}
		gauge(pendingDesc, float64(lag.Behind()), lag.Name)
		age := 0.0
		if !lag.Oldest.IsZero() {
			age = max(0, u.Read.Sub(lag.Oldest).Seconds())
		}
		gauge(oldestDesc, age, lag.Name)
		if seen := c.l.lastSeen(lag); !seen.IsZero() {
			gauge(seenDesc, max(0, u.Read.Sub(seen).Seconds()), lag.Name)
		}
	}
}
