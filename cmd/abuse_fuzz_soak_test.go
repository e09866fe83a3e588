//go:build soak

package cmd

import (
	"testing"
	"time"
)

// TestAbuseLong sends a million mutated inputs, or as many as the machine can in less than four minutes.
func TestAbuseLong(t *testing.T) { abuse(t, 1_000_000, 8, 2, 220*time.Second) }
