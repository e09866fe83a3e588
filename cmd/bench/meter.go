package bench

import (
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"imctl/bridge/wire"
)

// Latencies are in microseconds. Latencies outside the range count as its nearest end.
const (
	minLatency  = 1
	maxLatency  = 2 * 60 * 1e6
	wholeDigits = 3 // significant digits for a run
	partDigits  = 2 // significant digits for a slice of a run
	shards      = 8
	sliceCount  = 120 // slices of a run with the expected duration
)

// meter records the latencies of a run, for the whole run and for slices of time.
type meter struct {
	start  time.Time
	width  time.Duration // duration of a slice
	shards [shards]shard
}

// shard is a part of a meter. Several shards reduce lock contention.
type shard struct {
	mu    sync.Mutex
	whole *hdrhistogram.Histogram
	parts []*hdrhistogram.Histogram // nil for a slice without latencies
	_     [64]byte                  // keeps two shards out of one cache line
}

// newMeter returns a meter for a run that starts now. expected is the approximate duration of the run.
func newMeter(expected time.Duration) *meter {
	m := &meter{start: time.Now(), width: max(expected/sliceCount, 100*time.Millisecond)}
	for i := range m.shards {
		m.shards[i].whole = hdrhistogram.New(minLatency, maxLatency, wholeDigits)
	}
	return m
}

// record records the latency of an operation that has ended now. number selects the shard.
func (m *meter) record(number int, now time.Time, latency time.Duration) {
	us := min(max(latency.Microseconds(), minLatency), maxLatency)
	slice := min(max(int(now.Sub(m.start)/m.width), 0), 2*sliceCount)
	s := &m.shards[number%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	for slice >= len(s.parts) {
		s.parts = append(s.parts, nil)
	}
	if s.parts[slice] == nil {
		s.parts[slice] = hdrhistogram.New(minLatency, maxLatency, partDigits)
	}
	// RecordValue fails only for a value out of range.
	_ = s.whole.RecordValue(us)
	_ = s.parts[slice].RecordValue(us)
}

// Latency summarizes latencies in milliseconds.
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

// Series is a named latency over time.
type Series struct {
	Name  string
	Whole Latency
	Parts []Part // in the order of time
	Steps []Step // cumulative distribution
}

// Part is the latency in a slice of a run.
type Part struct {
	Seconds float64 // middle of the slice, since the start of the run
	Latency
}

// Step is a point of a cumulative distribution: the share, from 0 to 1, of all latencies up to Millis.
type Step struct{ Share, Millis float64 }

// series merges the shards.
func (m *meter) series(name string) Series {
	whole := hdrhistogram.New(minLatency, maxLatency, wholeDigits)
	var parts []*hdrhistogram.Histogram
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		whole.Merge(s.whole)
		for n, part := range s.parts {
			if n == len(parts) {
				parts = append(parts, hdrhistogram.New(minLatency, maxLatency, partDigits))
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

// Codes counts the answers by code. "none" counts dialogues without an answer, for example because the connection
// broke.
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
