//go:build !linux && !darwin && !windows

package sockopt

import "time"

// LimitUnacknowledged does nothing: this system has no such limit, and pings alone find a dead path.
func LimitUnacknowledged(uintptr, time.Duration) error { return nil }
