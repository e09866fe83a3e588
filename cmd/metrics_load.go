package cmd

import (
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"

	"imctl/bridge/cluster"
)

// load returns what the node has done and uses, from its metrics. It returns nil if they cannot be read.
func (a *App) load() *cluster.Load {
	families, err := a.registry.Gather()
	if err != nil {
		a.log.Warn("read the metrics", "err", err)
		return nil
	}
	l := &cluster.Load{At: time.Now().UTC(), Dialogues: map[string]uint64{}, Logins: map[string]uint64{}, Sessions: map[string]int{}}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			addToLoad(l, f.GetName(), m)
		}
	}
	return l
}

func addToLoad(l *cluster.Load, name string, m *dto.Metric) {
	counter, gauge := uint64(m.GetCounter().GetValue()), m.GetGauge().GetValue()
	switch name {
	case "imctl_dialogues_total":
		l.Dialogues[labelOf(m, "outcome")] += counter
	case "imctl_dialogue_seconds":
		l.Bounds, l.Answered = nil, nil
		for _, b := range m.GetHistogram().GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) {
				l.Bounds, l.Answered = append(l.Bounds, b.GetUpperBound()), append(l.Answered, b.GetCumulativeCount())
			}
		}
		l.Answered = append(l.Answered, m.GetHistogram().GetSampleCount())
	case "imctl_logins_total":
		l.Logins[labelOf(m, "outcome")] += counter
	case "imctl_backup_interval_seconds":
		l.BackupEvery = gauge
	case "imctl_limited_total":
		l.Limited += counter
	case "imctl_sessions":
		l.Sessions[labelOf(m, "kind")] = int(gauge)
	case "imctl_disk_free_bytes":
		l.DiskFree = uint64(gauge)
	case "imctl_disk_size_bytes":
		l.DiskSize = uint64(gauge)
	case "go_goroutines":
		l.Goroutines = int(gauge)
	case "process_resident_memory_bytes":
		l.Memory = uint64(gauge)
	case "process_cpu_seconds_total":
		l.CPU = m.GetCounter().GetValue()
	}
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
