package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"imctl/bridge/cluster"
	"imctl/kv"
)

// backupInfo is what imctl status shows of the scheduled backups.
type backupInfo struct {
	kv.BackupRecord
}

// readBackups returns what is known of the scheduled backups, or nil if there were none.
func readBackups(ctx context.Context, states *kv.States) (*backupInfo, error) {
	if states == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	r, err := states.Backups(ctx)
	if err != nil || r.Last == nil && r.Failed == nil && r.Holder == "" {
		return nil, err
	}
	return &backupInfo{r}, nil
}

// String returns the line of imctl status.
func (i *backupInfo) String() string {
	var parts []string
	if b := i.Last; b != nil {
		host, _, _ := strings.Cut(b.Maker, ":")
		parts = append(parts, fmt.Sprintf("%s, %d bytes, %s on %s", localTime(b.Time), b.Bytes, b.File, orDash(host)))
	}
	if i.Holder != "" && time.Now().Before(i.Until) {
		parts = append(parts, "in progress")
	}
	if f := i.Failed; f != nil {
		parts = append(parts, fmt.Sprintf("failed at %s, %s: %s", localTime(f.Time), plural(f.Count, "time"), f.Error))
	}
	return strings.Join(parts, "; ")
}

// backupProblem returns what is wrong with the scheduled backups, "" for nothing. info is nil if none was made. Records
// of servers that make no backups any more are no problem.
func backupProblem(info *backupInfo, nodes []cluster.NodeStatus, now time.Time) string {
	var every time.Duration
	var since time.Time // when the first of the servers that make backups started
	for _, n := range nodes {
		if n.Load == nil || n.Load.BackupEvery == 0 {
			continue
		}
		every = max(every, time.Duration(n.Load.BackupEvery*float64(time.Second)))
		if since.IsZero() || n.Started.Before(since) {
			since = n.Started
		}
	}
	if every == 0 {
		return ""
	}
	if info == nil {
		info = new(backupInfo)
	}
	if f := info.Failed; f != nil {
		return fmt.Sprintf("backup: the last one failed, %s: %s", plural(f.Count, "time"), f.Error)
	}
	last := "no server has made one"
	if b := info.Last; b != nil {
		since, last = b.Time, fmt.Sprintf("the last one is %s old", humanAge(now.Sub(b.Time)))
	}
	if now.Sub(since) <= 2*every || info.Holder != "" && now.Before(info.Until) {
		return ""
	}
	return fmt.Sprintf("backup: %s, with backup.every: %s", last, formatDuration(every))
}
