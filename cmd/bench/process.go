package bench

import "time"

// Process is the process of the server on this machine, or several processes whose usage is added up. Without PIDs it is
// unknown.
type Process struct{ PIDs []int }

// Usage is what the processes of the server used during a measurement.
type Usage struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	CPUPercent float64 `json:"cpu_percent"`         // of one core
	CPUMicros  float64 `json:"cpu_us_per_item"`     // for each dialogue, login or call
	Resident   uint64  `json:"resident_bytes"`      // at the end
	Grown      int64   `json:"resident_bytes_more"` // growth since the start
}

// sample is the usage of the processes at a point in time.
type sample struct {
	at       time.Time
	cpu      float64 // CPU time since their start, in seconds
	resident uint64  // bytes
}

// since returns the usage since an earlier sample, or nil if one of the samples is zero. items is the number of
// dialogues, logins or calls. 0 means that the usage per item is unknown.
func (s sample) since(before sample, items int64) *Usage {
	if s.at.IsZero() || before.at.IsZero() {
		return nil
	}
	cpu := s.cpu - before.cpu
	u := &Usage{CPUSeconds: cpu, CPUPercent: 100 * cpu / s.at.Sub(before.at).Seconds(), Resident: s.resident, Grown: int64(s.resident) - int64(before.resident)}
	if items > 0 {
		u.CPUMicros = cpu / float64(items) * 1e6
	}
	return u
}

// sample samples the processes. It returns the zero sample if there are none, or one cannot be read.
func (p Process) sample() (all sample) {
	for _, pid := range p.PIDs {
		s, err := sampleProcess(pid)
		if err != nil {
			return sample{}
		}
		all.cpu += s.cpu
		all.resident += s.resident
		all.at = time.Now()
	}
	return all
}
