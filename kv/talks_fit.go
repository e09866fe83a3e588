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
// all of it, ensureSized keeps the size of the existing stream, or halves the size of a new one until it fits and a quarter
// more, which is left to other streams, and logs that. setting is the key of the setting of the size, and what names the
// contents.
//
// Errors: ErrStreamMismatch, and those of NATS.
func ensureSized(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, setting, what string, log *slog.Logger) error {
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && want.MaxBytes > 0 {
		return createSized(ctx, js, want, setting, what, log)
	}
	failed := EnsureEntryStream(ctx, js, want, setting, log)
	if !noRoom(failed) || err != nil || s.CachedInfo().Config.MaxBytes <= 0 {
		return failed
	}
	smaller := want
	smaller.MaxBytes = s.CachedInfo().Config.MaxBytes
	if err = EnsureEntryStream(ctx, js, smaller, setting, log); err == nil {
		warnSmaller(log, setting, what, want, smaller)
	}
	return err
}

func createSized(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, setting, what string, log *slog.Logger) (err error) {
	fits := want
	for size := want.MaxBytes; size >= minSized || size == want.MaxBytes; size /= 2 {
		fits.MaxBytes = size + size/4
		if err = EnsureEntryStream(ctx, js, fits, setting, log); noRoom(err) {
			continue
		}
		if err != nil {
			return err
		}
		fits.MaxBytes = size
		if err = EnsureEntryStream(ctx, js, fits, setting, log); err == nil && size < want.MaxBytes {
			warnSmaller(log, setting, what, want, fits)
		}
		return err
	}
	return err
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
