//go:build soak

package cmd

import (
	"fmt"
	"testing"
	"time"
)

// TestConsistencySoak is TestConsistency with more clients and more calls.
func TestConsistencySoak(t *testing.T) {
	for nodes := 1; nodes <= 3; nodes++ {
		for round := range 3 {
			t.Run(fmt.Sprintf("%d nodes, round %d", nodes, round), func(t *testing.T) {
				runConsistency(t, nodes, loadSize{pairs: 6, calls: 600, kills: 4, check: 2 * time.Minute})
			})
		}
	}
}
