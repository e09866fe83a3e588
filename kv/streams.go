package kv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The streams are made by stream configurations and not by the client's key-value API, since that
// knows neither atomic batches nor persistence, and resets them when it updates a bucket. Whatever
// that API needs is here too, so that its readers (the nats tool among them) work on the buckets.

// recordsConfig is the bucket of users and that of friendships.
func recordsConfig(bucket string, o Options) jetstream.StreamConfig {
	cfg := bucketConfig(bucket, o)
	cfg.AllowAtomicPublish = true
	cfg.AllowMsgTTL = true // delete markers vanish by it
	return cfg
}

// tokensConfig is the bucket of tokens. Losing the newest of them in a power cut costs a login, so
// with one replica they don't wait for the disk; with several, the server offers no such choice.
func tokensConfig(bucket string, o Options) jetstream.StreamConfig {
	cfg := bucketConfig(bucket, o)
	cfg.MaxAge = o.TokenTTL
	cfg.Duplicates = min(cfg.Duplicates, o.TokenTTL)
	if o.Replicas == 1 {
		cfg.PersistMode = jetstream.AsyncPersistMode
	}
	return cfg
}

func bucketConfig(bucket string, o Options) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              streamOf(bucket),
		Subjects:          []string{"$KV." + bucket + ".>"},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          o.Replicas,
		Discard:           jetstream.DiscardNew,
		MaxMsgsPerSubject: 1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       true,
		Compression:       jetstream.NoCompression, // random gets cost ten times as much with it
		Duplicates:        2 * time.Minute,
	}
}

// StreamRules say what matters about a stream to who uses it.
type StreamRules struct {
	// Misfit tells what about have can't be changed into want, or "".
	Misfit func(have, want jetstream.StreamConfig) string
	// Overlay returns have with all that matters as want has it, and the names of what differed. What an operator may have
	// added, such as a description or a placement, stays.
	Overlay func(have, want jetstream.StreamConfig) (next jetstream.StreamConfig, changed []string)
}

// EnsureStream makes the stream want, or brings the one that exists to it, and returns what is there then. Several nodes
// may do so at once. In a cluster that has no leader yet it keeps trying until ctx ends.
//
// Errors: ErrStreamMismatch, and NATS's own.
func EnsureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, rules StreamRules, log *slog.Logger) (jetstream.StreamConfig, error) {
	var got jetstream.StreamConfig
	err := persist(ctx, func(ctx context.Context) error {
		s, err := js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = createStream(ctx, js, want)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				s, err = js.Stream(ctx, want.Name) // another node was first, with other settings
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

// creations is how often a stream is tried to be made. NATS may still be removing the files of one that was deleted, and
// then fails to make those of a new one of that name.
const creations = 5

func createStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	for n := 1; ; n++ {
		s, err := js.CreateStream(ctx, want)
		var apiErr *jetstream.APIError
		failed := errors.As(err, &apiErr) && apiErr.ErrorCode == createFailed
		if !failed || n == creations || sleep(ctx, 25*time.Millisecond<<n) != nil {
			return s, err
		}
	}
}

func updateStream(ctx context.Context, js jetstream.JetStream, have, want jetstream.StreamConfig, rules StreamRules, log *slog.Logger) (jetstream.StreamConfig, error) {
	if why := rules.Misfit(have, want); why != "" {
		return have, fmt.Errorf("%w: %s: %s", ErrStreamMismatch, have.Name, why)
	}
	next, changed := rules.Overlay(have, want)
	if len(changed) == 0 {
		return have, nil
	}
	s, err := js.UpdateStream(ctx, next)
	if apiErr := (*jetstream.APIError)(nil); errors.As(err, &apiErr) && !Transient(err) {
		return have, fmt.Errorf("%w: %s: setting %s: %w", ErrStreamMismatch, have.Name, strings.Join(changed, ", "), err)
	}
	if err != nil {
		return have, err
	}
	log.Info("stream updated", "stream", have.Name, "changed", changed)
	return s.CachedInfo().Config, nil
}

// bucketRules are those of the three buckets.
var bucketRules = StreamRules{Misfit: misfit, Overlay: overlay}

func misfit(have, want jetstream.StreamConfig) string {
	switch {
	case !slices.Equal(have.Subjects, want.Subjects):
		return fmt.Sprintf("its subjects are %q, not %q", have.Subjects, want.Subjects)
	case have.Mirror != nil || len(have.Sources) > 0:
		return "it copies other streams"
	case have.Sealed:
		return "it is sealed"
	case have.NoAck:
		return "it does not acknowledge what is published to it"
	case have.Retention != want.Retention:
		return fmt.Sprintf("its retention is %s, not %s", have.Retention, want.Retention)
	case have.Storage != want.Storage:
		return fmt.Sprintf("it is in %s, not in a %s", have.Storage, want.Storage)
	case have.DenyPurge:
		return "it denies purging, which revoking tokens needs"
	case have.AllowMsgTTL && !want.AllowMsgTTL:
		return "" // harmless, and can't be taken back
	case have.PersistMode == jetstream.AsyncPersistMode && want.PersistMode != have.PersistMode:
		return "it was made for one replica, with asynchronous persistence, which NATS can't change; " +
			"delete it to have it made anew: it holds nothing but tokens, and whoever has one logs in again"
	}
	return ""
}

func overlay(have, want jetstream.StreamConfig) (jetstream.StreamConfig, []string) {
	var changed []string
	note := func(name string, differs bool) {
		if differs {
			changed = append(changed, name)
		}
	}
	set := func(name string, have *bool, want bool) {
		note(name, *have != want)
		*have = want
	}
	num := func(name string, have *int64, want int64) {
		note(name, *have != want)
		*have = want
	}
	num("max_msgs_per_subject", &have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	num("max_age", (*int64)(&have.MaxAge), int64(want.MaxAge))
	num("duplicate_window", (*int64)(&have.Duplicates), int64(want.Duplicates))
	set("allow_rollup_hdrs", &have.AllowRollup, want.AllowRollup)
	set("deny_delete", &have.DenyDelete, want.DenyDelete)
	set("allow_direct", &have.AllowDirect, want.AllowDirect)
	set("allow_atomic", &have.AllowAtomicPublish, want.AllowAtomicPublish)
	set("allow_msg_ttl", &have.AllowMsgTTL, want.AllowMsgTTL || have.AllowMsgTTL)
	note("num_replicas", have.Replicas != want.Replicas)
	note("discard", have.Discard != want.Discard)
	note("compression", have.Compression != want.Compression)
	have.Replicas, have.Discard, have.Compression = want.Replicas, want.Discard, want.Compression
	return have, changed
}

// persist calls f until it succeeds, fails for good, or ctx ends: a cluster that is starting
// answers nobody until it has a leader.
func persist(ctx context.Context, f func(context.Context) error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := f(attempt)
		cancel()
		if err == nil || !Transient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (the last answer: %w)", cmp.Or(context.Cause(ctx), ctx.Err()), err)
		case <-time.After(wait):
		}
	}
}
