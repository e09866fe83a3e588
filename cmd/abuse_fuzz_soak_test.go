//go:build soak

package cmd

import "testing"

// TestAbuseLong sends a million mutated inputs.
func TestAbuseLong(t *testing.T) { abuse(t, 1_000_000, 8, 2) }
