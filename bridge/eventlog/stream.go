package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
	"imctl/kv"
)

// ErrStream: the event log's stream cannot be created, or the existing one does not fit.
var ErrStream = errors.New("stream of the event log")

// streamConfig returns the stream that holds the entries. The log removes an entry after all consumers whose filter
// matches have acknowledged it; see Log.prune. With several replicas NATS does so by interest retention: there it does
// not sync each removal, and the replica that answers for a consumer may not know the stream's last entries yet. At the
// limit of bytes NATS refuses new entries: dropping old entries would take from a consumer what it was promised, while
// the sender sees a refusal. Only MaxAge, which the operator sets, loses entries.
func streamConfig(o Options) jetstream.StreamConfig {
	names := subject.Prefix(o.Prefix)
	c := kv.EntryStream(names.LogStream(), names.LogAll(), o.Replicas, o.MaxAge, o.MaxBytes)
	c.Retention, c.Discard = jetstream.LimitsPolicy, jetstream.DiscardNew
	if o.Replicas > 1 {
		c.Retention = jetstream.InterestPolicy
		c.Duplicates = min(max(duplicateWindow, 2*o.Timeout), o.MaxAge)
	}
	return c
}

// ensureStream creates the stream or updates the existing one. Several nodes may call it at once.
func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, log *slog.Logger) error {
	if err := kv.EnsureEntryStream(ctx, js, want, "nats.log.max_bytes", log); err != nil {
		return fmt.Errorf("%w %s: %w", ErrStream, want.Name, err)
	}
	return nil
}
