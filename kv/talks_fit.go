package kv

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"
)

// minTalkBytes is the smallest size that ensureTalks lowers the limit of the stream of conversations to.
const minTalkBytes = 1 << 20

// ensureTalks creates the stream of conversations, or updates the existing one. NATS reserves the size of a stream. If it
// has no room for all of it, ensureTalks keeps the size of the existing stream, or halves the size until it fits, and
// logs that.
//
// Errors: ErrStreamMismatch, and those of NATS.
func ensureTalks(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, log *slog.Logger) error {
	const setting = "dialogues.max_bytes"
	failed := EnsureEntryStream(ctx, js, want, setting, log)
	if !noRoom(failed) {
		return failed
	}
	smaller := want
	if s, err := js.Stream(ctx, want.Name); err == nil && s.CachedInfo().Config.MaxBytes > 0 {
		smaller.MaxBytes = s.CachedInfo().Config.MaxBytes
		if err = EnsureEntryStream(ctx, js, smaller, setting, log); err == nil {
			warnSmaller(log, want, smaller)
		}
		return err
	}
	for smaller.MaxBytes /= 2; smaller.MaxBytes >= minTalkBytes; smaller.MaxBytes /= 2 {
		err := EnsureEntryStream(ctx, js, smaller, setting, log)
		if err == nil {
			warnSmaller(log, want, smaller)
		}
		if !noRoom(err) {
			return err
		}
	}
	return failed
}

func warnSmaller(log *slog.Logger, want, got jetstream.StreamConfig) {
	log.Warn("NATS cannot reserve dialogues.max_bytes, so fewer conversations are kept: lower the setting, or raise the limits of JetStream",
		"max_bytes", want.MaxBytes, "lowered_to", got.MaxBytes)
}

// noRoom reports whether NATS has refused a stream, since it cannot reserve its size.
func noRoom(err error) bool {
	var e *jetstream.APIError
	return errors.As(err, &e) && (e.ErrorCode == codeStorageExceeded || e.ErrorCode == codeAccountResources)
}
