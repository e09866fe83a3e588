package bridge

import (
	"context"
	"time"

	"imctl/bridge/audit"
)

// tendWait bounds the work after one reading of the log's usage.
const tendWait = 10 * time.Second

// tendConsumers follows the usage of the event log until ctx ends. It notes which programs of consumers are connected,
// and detaches the consumer of a program that is away for long, before the log is full.
func (b *Bridge) tendConsumers(ctx context.Context) {
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.events.Watched():
		}
		if !b.serving() {
			continue
		}
		err := b.gate.Pass(func() error { return b.tendOnce(ctx) })
		if err != nil && !failing && ctx.Err() == nil {
			b.log.Warn("look after the consumers of the event log", "err", err)
		}
		failing = err != nil
	}
}

func (b *Bridge) tendOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tendWait)
	defer cancel()
	attachments := b.services.Attachments
	detached, err := attachments.Tend(ctx, b.events.Usage(), b.opts.LogIdle)
	b.events.SetSeen(attachments.Seen())
	for _, a := range detached {
		seen := "never"
		if !a.Seen.IsZero() {
			seen = a.Seen.Format(time.RFC3339)
		}
		b.log.Warn("a consumer of the event log was detached, since its program is away and the log is nearly full",
			"attachment", a.Name, "last_seen", seen, "lost_entries", a.Detached.Entries)
		b.audit.Add(audit.Event{Event: audit.AttachmentDetached, Actor: audit.Ref{Kind: audit.Server}, Subject: audit.Ref{Kind: audit.Attachment, ID: a.Name}})
	}
	if err == nil && len(detached) > 0 {
		err = b.events.Prune(ctx)
	}
	return err
}

// LogDegraded returns what is wrong with the event log, "" for nothing.
func (b *Bridge) LogDegraded() string { return b.events.Degraded() }
