//go:build soak

package cmd

import (
	"path/filepath"
	"testing"
	"time"
)

// TestRestoreHuge measures a restore of 200,000 users with 600,000 friendships into a fresh directory, and into a
// running server that syncs every write to disk.
func TestRestoreHuge(t *testing.T) {
	const accounts = 200_000
	dir := createBackup(t, accounts)
	measure := func(args ...string) time.Duration {
		start := time.Now()
		command(t, dir, "", append([]string{"restore", "all.tar", "--yes"}, args...)...).want(t, exitDone)
		return time.Since(start)
	}
	fresh := measure("--data", "fresh")
	start(t, func(c *Config) {
		c.Data, c.NATS.Listen, c.NATS.Sync = filepath.Join(dir, "running"), "127.0.0.1:0", SyncAlways
	})
	running := measure("--data", "running")
	t.Logf("fresh directory %s, running server %s, %.1f times", fresh, running, running.Seconds()/fresh.Seconds())
	command(t, dir, "", "status", "--data", "running").want(t, exitDone, "health    ok\n", "accounts  200000\n")
}
