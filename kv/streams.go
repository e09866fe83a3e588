package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

// The buckets are created from stream configurations and not by the client's key-value API. That API does not support
// atomic batches or the mode of persistence, and resets them when it updates a bucket. The configurations have all
// that the API needs, so that its readers, such as the nats tool, can read the buckets.

// recordsConfig returns the configuration of the buckets of users and friendships.
func recordsConfig(bucket string, opts Options) jetstream.StreamConfig {
	cfg := bucketConfig(bucket, opts)
	cfg.AllowAtomicPublish = true
	cfg.AllowMsgTTL = true // for reset codes
	return cfg
}

// tokensConfig returns the configuration of the bucket of tokens. If a power cut loses the newest tokens, their
// clients log in again. So with one replica the server acknowledges a token before it is on the disk. With several
// replicas nats-server does not support that.
func tokensConfig(bucket string, opts Options) jetstream.StreamConfig {
	cfg := bucketConfig(bucket, opts)
	cfg.MaxAge = opts.TokenTTL
	cfg.Duplicates = min(cfg.Duplicates, opts.TokenTTL)
	if opts.Replicas == 1 {
		cfg.PersistMode = jetstream.AsyncPersistMode
	}
	return cfg
}

// bucketConfig returns the part of the configuration that all buckets have.
func bucketConfig(bucket string, opts Options) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              subject.BucketStream(bucket),
		Subjects:          []string{subject.BucketKeys(bucket) + ">"},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          opts.Replicas,
		Discard:           jetstream.DiscardNew,
		MaxMsgsPerSubject: 1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       true,
		Compression:       jetstream.NoCompression, // with compression, random gets cost ten times as much
		Duplicates:        2 * time.Minute,
	}
}

// StreamRules say which configuration of an existing stream is acceptable.
type StreamRules struct {
	// Misfit returns what about have cannot be changed into want, "" for nothing. EnsureStream itself compares
	// subjects, sources, storage and persistence, and refuses a sealed stream and one without
	// acknowledgements. If Misfit is nil, it checks nothing more.
	Misfit func(have, want jetstream.StreamConfig) string
	// Update sets the fields that matter to their values in want, each with SetField. All other fields, such as a
	// description or a placement, are the operator's.
	Update func(u *StreamUpdate, want jetstream.StreamConfig)
}

// StreamUpdate is the configuration of an existing stream while it is updated.
type StreamUpdate struct {
	jetstream.StreamConfig
	changed []string // names of the fields that differed
}

// SetField sets a field of u to the value that the caller wants, and notes its name if it differed. The name is that
// of the JSON field.
func SetField[T comparable](u *StreamUpdate, name string, field *T, want T) {
	if *field != want {
		*field = want
		u.changed = append(u.changed, name)
	}
}

// EnsureStream creates the stream want, or updates an existing one by the rules, and returns the resulting
// configuration. Several nodes may do so concurrently. While a cluster has no leader, EnsureStream retries until ctx
// ends.
//
// Errors: ErrStreamMismatch, and those of NATS.
func EnsureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, rules StreamRules, log *slog.Logger) (jetstream.StreamConfig, error) {
	var got jetstream.StreamConfig
	err := retrySettling(ctx, func(ctx context.Context) error {
		s, err := js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = createStream(ctx, js, want)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				s, err = js.Stream(ctx, want.Name) // another node created it first, with other settings
			}
		}
		if err != nil {
			return err
		}
		got, err = updateStream(ctx, js, s.CachedInfo().Config, want, rules, log)
		return err
	})
	return got, err
}

// maxCreateAttempts bounds how often the creation of a stream is tried. While NATS removes the files of a deleted
// stream, it fails to create a new stream of that name.
const maxCreateAttempts = 5

// createStream creates a stream, and retries while NATS removes the files of a deleted one.
func createStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	for n := 1; ; n++ {
		s, err := js.CreateStream(ctx, want)
		if !hasCode(err, codeCreateFailed) || n == maxCreateAttempts || sleep(ctx, 25*time.Millisecond<<n) != nil {
			return s, err
		}
	}
}

// updateStream updates an existing stream by the rules, and returns its configuration. Errors: ErrStreamMismatch.
func updateStream(ctx context.Context, js jetstream.JetStream, have, want jetstream.StreamConfig, rules StreamRules, log *slog.Logger) (jetstream.StreamConfig, error) {
	if why := misfit(have, want, rules); why != "" {
		return have, fmt.Errorf("%w: %s: %s", ErrStreamMismatch, have.Name, why)
	}
	update := &StreamUpdate{StreamConfig: have}
	rules.Update(update, want)
	if len(update.changed) == 0 {
		return have, nil
	}
	s, err := js.UpdateStream(ctx, update.StreamConfig)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return have, err // it is being created, or was deleted
	}
	if apiErr := (*jetstream.APIError)(nil); errors.As(err, &apiErr) && !Transient(err) {
		return have, fmt.Errorf("%w: %s: set %s: %w", ErrStreamMismatch, have.Name, strings.Join(update.changed, ", "), err)
	}
	if err != nil {
		return have, err
	}
	log.Info("stream updated", "stream", have.Name, "changed", update.changed)
	return s.CachedInfo().Config, nil
}

// misfit returns what about have cannot be changed into want, "" for nothing.
func misfit(have, want jetstream.StreamConfig, rules StreamRules) string {
	if rules.Misfit != nil {
		if why := rules.Misfit(have, want); why != "" {
			return why
		}
	}
	switch {
	case !slices.Equal(have.Subjects, want.Subjects):
		return fmt.Sprintf("its subjects are %q, not %q", have.Subjects, want.Subjects)
	case have.Mirror != nil || len(have.Sources) > 0:
		return "it copies other streams"
	case have.Sealed:
		return "it is sealed"
	case have.NoAck:
		return "it does not acknowledge messages"
	case have.Storage != want.Storage:
		return fmt.Sprintf("its storage is %s, not %s", have.Storage, want.Storage)
	case acknowledgesEarly(have, want):
		return "its persistence is asynchronous: it acknowledges a message before it has stored it, and NATS cannot change that"
	}
	return ""
}

// acknowledgesEarly reports whether have acknowledges messages that it has not stored, although want does not.
func acknowledgesEarly(have, want jetstream.StreamConfig) bool {
	return have.PersistMode == jetstream.AsyncPersistMode && want.PersistMode != jetstream.AsyncPersistMode
}

// bucketRules are the rules of all buckets.
var bucketRules = StreamRules{
	Misfit: func(have, want jetstream.StreamConfig) string {
		switch {
		case have.DenyPurge:
			return "it denies purges, which revoking tokens needs"
		case have.Retention != want.Retention:
			return fmt.Sprintf("its retention is %s, not %s", have.Retention, want.Retention)
		case want.MaxAge != 0 && acknowledgesEarly(have, want): // the bucket of tokens
			return "it was created for one replica, with asynchronous persistence, which NATS cannot change; " +
				"delete it, and the next start creates it again: it holds only tokens, so clients log in again"
		}
		return ""
	},
	Update: func(u *StreamUpdate, want jetstream.StreamConfig) {
		SetField(u, "max_msgs_per_subject", &u.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
		SetField(u, "max_age", &u.MaxAge, want.MaxAge)
		SetField(u, "duplicate_window", &u.Duplicates, want.Duplicates)
		SetField(u, "allow_rollup_hdrs", &u.AllowRollup, want.AllowRollup)
		SetField(u, "deny_delete", &u.DenyDelete, want.DenyDelete)
		SetField(u, "allow_direct", &u.AllowDirect, want.AllowDirect)
		SetField(u, "allow_atomic", &u.AllowAtomicPublish, want.AllowAtomicPublish)
		SetField(u, "allow_msg_ttl", &u.AllowMsgTTL, want.AllowMsgTTL || u.AllowMsgTTL) // NATS cannot reset it, and it is harmless
		SetField(u, "num_replicas", &u.Replicas, want.Replicas)
		SetField(u, "discard", &u.Discard, want.Discard)
		SetField(u, "compression", &u.Compression, want.Compression)
	},
}
