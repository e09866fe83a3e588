package bridge

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/bridge/subject"
)

// TestUnknownCallsShareALabel: the name of a call that a NATS client invents is no label of a metric.
func TestUnknownCallsShareALabel(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	registry := prometheus.NewRegistry()
	b := startBridge(t, url, eventlog.Options{}, func(o *Options) { o.Registry = registry })
	id, _ := pair(t, b, natstest.Connect(t, url), 0)
	nc := natstest.Connect(t, url, nats.CustomInboxPrefix(subject.Inbox(id)))
	for _, call := range []string{"invented", "another"} {
		m, err := nc.Request(subject.Prefix("im").Call(id, call), nil, 10*time.Second)
		if err != nil || !strings.Contains(string(m.Data), `"code":403,`) {
			t.Errorf("call %s: %v, %v", call, m, err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	count := uint64(0)
	for _, f := range families {
		if f.GetName() != "imctl_call_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "call" && l.GetValue() != "unknown" {
					t.Errorf("label %s", l.GetValue())
				}
			}
			count += m.GetHistogram().GetSampleCount()
		}
	}
	if count != 2 {
		t.Errorf("%d calls are counted, want 2", count)
	}
}
