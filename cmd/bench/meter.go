package bench

import (
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"imctl/bridge/wire"
)

// Latencies are kept in microseconds, from one to two minutes; what takes longer counts as that.
const (
	leastLatency = 1
	mostLatency  = 2 * 60 * 1e6
	digits       = 3 // of the whole run
	roughDigits  = 2 // of one slice of it
	shards       = 8
	sliceCount   = 120 // of a run, at most about
)

// meter keeps the latencies of a run, whole and by slices of time.
type meter struct {
	begin  time.Time
	width  time.Duration // of a slice
	shards [shards]shard
}

// shard is a part of the meter, so that those who measure seldom wait for each other.
type shard struct {
	mu    sync.Mutex
	whole *hdrhistogram.Histogram
	parts []*hdrhistogram.Histogram // nil where nothing happened
	_     [64]byte                  // keeps neighbours out of its cache line
}

// newMeter is for a run that begins now and takes about so long.
func newMeter(about time.Duration) *meter {
	m := &meter{begin: time.Now(), width: max(about/sliceCount, 100*time.Millisecond)}
	for i := range m.shards {
		m.shards[i].whole = hdrhistogram.New(leastLatency, mostLatency, digits)
	}
	return m
}

// record counts what took so long and ended now. Those with different numbers don't wait for each other.
func (m *meter) record(number int, now time.Time, took time.Duration) {
	us := min(max(took.Microseconds(), leastLatency), mostLatency)
	slice := min(max(int(now.Sub(m.begin)/m.width), 0), 2*sliceCount)
	s := &m.shards[number%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	for slice >= len(s.parts) {
		s.parts = append(s.parts, nil)
	}
	if s.parts[slice] == nil {
		s.parts[slice] = hdrhistogram.New(leastLatency, mostLatency, roughDigits)
	}
	// Neither can fail: the value is in bounds.
	_ = s.whole.RecordValue(us)
	_ = s.parts[slice].RecordValue(us)
}

// Latency is how long something took, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	Max   float64 `json:"max"`
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	q := func(p float64) float64 { return float64(h.ValueAtQuantile(p)) / 1e3 }
	return Latency{Count: h.TotalCount(), Mean: h.Mean() / 1e3, P50: q(50), P90: q(90), P99: q(99), P999: q(99.9), Max: float64(h.Max()) / 1e3}
}

// Series is a measured latency as a plot shows it.
type Series struct {
	Name  string
	Whole Latency
	Parts []Part // in the order of time
	// Steps are the distribution: what share of all took no longer than so many milliseconds.
	Steps []Step
}

// Part is a slice of a run. Seconds is its middle, from the begin.
type Part struct {
	Seconds float64
	Latency
}

// Step is a point of a distribution. Share is from 0 to 1.
type Step struct{ Share, Millis float64 }

// series adds up what was measured.
func (m *meter) series(name string) Series {
	whole := hdrhistogram.New(leastLatency, mostLatency, digits)
	var parts []*hdrhistogram.Histogram
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		whole.Merge(s.whole)
		for n, part := range s.parts {
			if n == len(parts) {
				parts = append(parts, hdrhistogram.New(leastLatency, mostLatency, roughDigits))
			}
			if part != nil {
				parts[n].Merge(part)
			}
		}
		s.mu.Unlock()
	}
	series := Series{Name: name, Whole: latencyOf(whole)}
	for n, part := range parts {
		if part.TotalCount() > 0 {
			series.Parts = append(series.Parts, Part{Seconds: (float64(n) + 0.5) * m.width.Seconds(), Latency: latencyOf(part)})
		}
	}
	for _, b := range whole.CumulativeDistributionWithTicks(8) {
		series.Steps = append(series.Steps, Step{Share: b.Quantile / 100, Millis: float64(b.ValueAt) / 1e3})
	}
	return series
}

// tally counts codes.
type tally struct {
	mu    sync.Mutex
	codes map[wire.Code]int64
}

func (t *tally) add(code wire.Code, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.codes == nil {
		t.codes = make(map[wire.Code]int64)
	}
	t.codes[code] += n
}

// Codes are how often each code was answered. What came to nothing, a connection that broke or an answer that
// never came, is "none".
type Codes map[string]int64

func (t *tally) all() Codes {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(Codes, len(t.codes))
	for code, n := range t.codes {
		name := "none"
		if code != 0 {
			name = strconv.Itoa(int(code))
		}
		all[name] = n
	}
	return all
}
