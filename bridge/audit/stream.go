package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
	"imctl/kv"
)

// ErrStream: the stream of the audit trail cannot be created, or the existing one does not fit.
var ErrStream = errors.New("stream of the audit trail")

// streamConfig returns the stream that holds the entries. It drops old entries and never refuses a new one. All
// subjects together fit into MaxBytes, so each drops entries of its own only.
func streamConfig(o Options) jetstream.StreamConfig {
	names := subject.Prefix(o.Prefix)
	c := kv.EntryStream(names.AuditStream(), names.AuditAll(), o.Replicas, o.MaxAge, o.MaxBytes)
	c.Retention, c.Discard = jetstream.LimitsPolicy, jetstream.DiscardOld
	c.MaxMsgsPerSubject = max(1, o.MaxBytes/int64(allShares)/maxEntry)
	return c
}

// ensureStream creates the stream or updates the existing one. Several nodes may call it at once.
func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, log *slog.Logger) error {
	if err := kv.EnsureEntryStream(ctx, js, want, "nats.audit.max_bytes", log); err != nil {
		return fmt.Errorf("%w %s: %w", ErrStream, want.Name, err)
	}
	return nil
}
