package talk

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestRetentionWarnings checks which sizes of the stream are warned about, how often, and what is counted as dropped.
func TestRetentionWarnings(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	registry := prometheus.NewRegistry()
	r := NewRetention(RetentionOptions{Registry: registry, Log: slog.New(slog.NewTextHandler(&out, nil))})
	now := time.Now()
	const keep = 30 * 24 * time.Hour
	for _, step := range []struct {
		what    string
		later   time.Duration
		fill    Fill
		warning string // "": none
		dropped float64
	}{
		{"little", 0, Fill{Messages: 10, Bytes: 100, first: 1, last: 10}, "", 0},
		{"80 %", time.Minute, Fill{Messages: 80, Bytes: 800, first: 1, last: 80}, "percent=80", 0},
		{"the same", time.Hour, Fill{Messages: 81, Bytes: 810, first: 1, last: 81}, "", 0},
		{"a day later", 24 * time.Hour, Fill{Messages: 82, Bytes: 820, first: 1, last: 82}, "percent=82", 0},
		{"95 %", time.Minute, Fill{Messages: 95, Bytes: 950, first: 1, last: 95}, "percent=95", 0},
		{"full", time.Minute, Fill{Messages: 100, Bytes: 1000, first: 11, last: 110}, "are dropped before", 10},
		{"still full", time.Minute, Fill{Messages: 99, Bytes: 999, first: 18, last: 116}, "", 17},
		{"a day later", 24 * time.Hour, Fill{Messages: 100, Bytes: 1000, first: 18, last: 117}, "are dropped before", 17},
		{"emptied", time.Minute, Fill{Messages: 1, Bytes: 10, first: 117, last: 117}, "", 17},
		{"full again", time.Minute, Fill{Messages: 100, Bytes: 1000, first: 118, last: 217}, "are dropped before", 18},
	} {
		now = now.Add(step.later)
		step.fill.MaxBytes, step.fill.Keep, step.fill.Oldest = 1000, keep, now.Add(-keep/2)
		out.Reset()
		r.observe(now, step.fill)
		switch {
		case step.warning == "" && out.Len() > 0:
			t.Errorf("%s: logged %s", step.what, &out)
		case !strings.Contains(out.String(), step.warning) || step.warning != "" && strings.Count(out.String(), "\n") != 1:
			t.Errorf("%s: logged %q, want %q", step.what, &out, step.warning)
		}
		if got := counted(t, registry); got != step.dropped {
			t.Errorf("%s: %v are counted as dropped, want %v", step.what, got, step.dropped)
		}
	}
	// Messages that are old enough are dropped silently.
	f := Fill{Messages: 100, Bytes: 1000, MaxBytes: 1000, Keep: keep, Oldest: now.Add(-keep), first: 300, last: 400}
	if f.Dropping(now) {
		t.Error("messages that have expired count as dropped")
	}
}

// counted returns how many records are counted as dropped.
func counted(t *testing.T, r *prometheus.Registry) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "imctl_conversations_dropped_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("there is no such metric")
	return 0
}
