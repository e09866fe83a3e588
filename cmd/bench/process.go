package bench

import "time"

// Process is the process of the server on this machine. A PID of 0 means that it is unknown.
type Process struct{ PID int }

// Usage is what the process of the server used during a measurement.
type Usage struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	CPUPercent float64 `json:"cpu_percent"`         // of one core
	CPUMicros  float64 `json:"cpu_us_per_item"`     // for each dialogue, login or call
	Resident   uint64  `json:"resident_bytes"`      // at the end
	Grown      int64   `json:"resident_bytes_more"` // growth since the start
}

// sample is the usage of a process at a point in time.
type sample struct {
	at       time.Time
	cpu      float64 // CPU time since the start of the process, in seconds
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

// sample samples the process. It returns the zero sample if the process is unknown or cannot be read.
func (p Process) sample() sample {
	if p.PID <= 0 {
		return sample{}
	}
	s, err := sampleProcess(p.PID)
	if err != nil {
		return sample{}
	}
	s.at = time.Now()
	return s
}
