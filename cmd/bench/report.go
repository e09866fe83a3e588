package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Report is the result of a measurement. It can be encoded as JSON.
type Report interface {
	// Rows returns the rows of a table: a name and a value each.
	Rows() [][]string
	// Plot returns the latencies for WritePlot.
	Plot() []Series
}

// perSecond formats a rate.
func perSecond(rate float64) string { return number(rate) + "/s" }

// number formats v with up to three significant digits, and no fewer digits than its integer part.
func number(v float64) string {
	switch {
	case v >= 100 || v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// String returns the quantiles.
func (l Latency) String() string {
	if l.Count == 0 {
		return "-"
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s ms", number(l.P50), number(l.P90), number(l.P99), number(l.P999), number(l.Max))
}

// String returns the counts, sorted by code.
func (c Codes) String() string {
	var all []string
	for _, code := range slices.Sorted(maps.Keys(c)) {
		all = append(all, fmt.Sprintf("%s: %d", code, c[code]))
	}
	if all == nil {
		return "-"
	}
	return strings.Join(all, ", ")
}

// rows returns the usage as rows of a table. item is the unit of the CPU time per item, or "" to leave it out.
func (u *Usage) rows(item string) [][]string {
	if u == nil {
		return [][]string{{"server", "CPU and memory unknown (no local process)"}}
	}
	each := ""
	if item != "" && u.CPUMicros > 0 {
		each = fmt.Sprintf("%s µs per %s, ", number(u.CPUMicros), item)
	}
	return [][]string{
		{"server CPU", fmt.Sprintf("%s%s %% of one core", each, number(u.CPUPercent))},
		{"server memory", fmt.Sprintf("%s MB resident, %+.1f MB", number(float64(u.Resident)/(1<<20)), float64(u.Grown)/(1<<20))},
	}
}
