package kv

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"
)

// minSized is the smallest size that ensureSized lowers the limit of a stream to.
const minSized = 1 << 20

// ensureSized creates a stream, or updates the existing one. NATS reserves the size of a stream. If it has no room for
// all of it, ensureSized keeps the size of the existing stream, or halves the size until it fits, and logs that. setting
// is the key of the setting of the size, and what names the contents.
//
// Errors: ErrStreamMismatch, and those of NATS.
func ensureSized(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, setting, what string, log *slog.Logger) error {
	failed := EnsureEntryStream(ctx, js, want, setting, log)
	if !noRoom(failed) {
		return failed
	}
	smaller := want
	if s, err := js.Stream(ctx, want.Name); err == nil && s.CachedInfo().Config.MaxBytes > 0 {
		smaller.MaxBytes = s.CachedInfo().Config.MaxBytes
		if err = EnsureEntryStream(ctx, js, smaller, setting, log); err == nil {
			warnSmaller(log, setting, what, want, smaller)
		}
		return err
	}
	for smaller.MaxBytes /= 2; smaller.MaxBytes >= minSized; smaller.MaxBytes /= 2 {
		err := EnsureEntryStream(ctx, js, smaller, setting, log)
		if err == nil {
			warnSmaller(log, setting, what, want, smaller)
		}
		if !noRoom(err) {
			return err
		}
	}
	return failed
}

func warnSmaller(log *slog.Logger, setting, what string, want, got jetstream.StreamConfig) {
	log.Warn("NATS cannot reserve "+setting+", so fewer "+what+" are kept: lower the setting, or raise the limits of JetStream",
		"max_bytes", want.MaxBytes, "lowered_to", got.MaxBytes)
}

// noRoom reports whether NATS has refused a stream, since it cannot reserve its size.
func noRoom(err error) bool {
	var e *jetstream.APIError
	return errors.As(err, &e) && (e.ErrorCode == codeStorageExceeded || e.ErrorCode == codeAccountResources)
}
