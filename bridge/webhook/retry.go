package webhook

import (
	"math/rand/v2"
	"time"
)

// schedule are the delays between the attempts at one event, as Standard Webhooks recommends them.
var schedule = []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
	14 * time.Hour, 20 * time.Hour, 24 * time.Hour}

// pace says when attempts are repeated.
type pace struct {
	schedule []time.Duration
	// After outageAfter failures in a row, a webhook counts as failing: it posts nothing but one event after each pause.
	outageAfter        int
	minPause, maxPause time.Duration
	maxAge             time.Duration // of an event, from the queue to the last attempt
	jitter             func(time.Duration) time.Duration
}

func newPace(maxAge time.Duration) pace {
	return pace{schedule: schedule, outageAfter: 3, minPause: 5 * time.Second, maxPause: 10 * time.Minute, maxAge: maxAge, jitter: jittered}
}

// jittered returns a delay that differs by at most a tenth.
func jittered(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)+1))
}

// retry returns the delay before the next attempt at an event, after a number of attempts. It reports false if there is
// none: the event has the age maxAge. The last attempt is made at that age.
func (p pace) retry(attempts uint64, age, asked time.Duration) (time.Duration, bool) {
	left := p.maxAge - age
	if left <= 0 {
		return 0, false
	}
	delay := p.jitter(p.schedule[min(max(attempts, 1), uint64(len(p.schedule)))-1])
	return min(max(delay, asked), left), true
}

// pause returns how long a failing webhook waits after a number of failures in a row. It is 0 for a webhook that does
// not count as failing.
func (p pace) pause(failures int, asked time.Duration) time.Duration {
	if failures < p.outageAfter {
		return asked
	}
	d := p.maxPause
	if n := failures - p.outageAfter; n < 16 {
		d = min(d, p.minPause<<n)
	}
	return max(p.jitter(d), asked)
}
