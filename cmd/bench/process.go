package bench

import "time"

// Process is the server's process, where it is one of this machine.
type Process struct{ PID int }

// Usage is what the server took while a load ran.
type Usage struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	CPUPercent float64 `json:"cpu_percent"`         // of one core
	CPUMicros  float64 `json:"cpu_us_per_item"`     // for each dialogue, login or call
	Resident   uint64  `json:"resident_bytes"`      // at the end
	Grown      int64   `json:"resident_bytes_more"` // than at the begin
}

// sample is a process at one moment.
type sample struct {
	at       time.Time
	cpu      float64 // seconds since its start
	resident uint64  // bytes
}

// since returns what the process took since an earlier sample for so many items.
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

// look samples the process; the zero sample where there is none, or none that can be looked at.
func (p Process) look() sample {
	if p.PID <= 0 {
		return sample{}
	}
	s, err := look(p.PID)
	if err != nil {
		return sample{}
	}
	s.at = time.Now()
	return s
}
