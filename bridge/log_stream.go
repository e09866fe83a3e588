package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// ErrLogStream tells that the event log's stream can't be made, or that the one that is there does not fit.
var ErrLogStream = errors.New("stream of the event log")

// logStreamWait bounds how long the stream may take to be there; a cluster that starts needs a leader first.
const logStreamWait = 30 * time.Second

func logStreamName(prefix string) string { return kv.LogStream(prefix) }

// logStreamConfig is the stream that holds the entries. With interest retention an entry is kept until all consumers
// that are concerned have acknowledged it, and not at all without one. It is new entries that give way at the limit of
// bytes: dropping old ones would silently take from a consumer what it was promised, while a refusal is seen by whoever
// waits for it. Age is the one way to lose an entry, and the operator sets it.
func logStreamConfig(o EventLogOptions) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               logStreamName(o.Prefix),
		Subjects:           []string{o.Prefix + ".log.>"},
		Retention:          jetstream.InterestPolicy,
		Storage:            jetstream.FileStorage,
		Replicas:           o.Replicas,
		Discard:            jetstream.DiscardNew,
		MaxAge:             o.MaxAge,
		MaxBytes:           o.MaxBytes,
		MaxMsgs:            -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		MaxConsumers:       -1,
		Duplicates:         min(2*time.Minute, o.MaxAge),
		AllowDirect:        true,
		AllowAtomicPublish: true,
	}
}

// logStreamRules say what matters about the stream.
var logStreamRules = kv.StreamRules{Misfit: logStreamMisfit, Overlay: logStreamOverlay}

// ensureLogStream makes the stream want, or brings the one that is there to it. Several nodes may do so at once.
func ensureLogStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, logStreamWait)
	defer cancel()
	if _, err := kv.EnsureStream(ctx, js, want, logStreamRules, log); err != nil {
		return fmt.Errorf("%w %s: %w", ErrLogStream, want.Name, explained(err, want))
	}
	return nil
}

// JetStream's names for what the client has no constants for.
const (
	codeStorageExceeded  jetstream.ErrorCode = 10047
	codeSubjectOverlap   jetstream.ErrorCode = 10065
	codeBatchIncomplete  jetstream.ErrorCode = 10176
	codeTooManyBatches   jetstream.ErrorCode = 10210
	codeAccountResources jetstream.ErrorCode = 10002
)

func apiCode(err error) jetstream.ErrorCode {
	var e *jetstream.APIError
	if errors.As(err, &e) {
		return e.ErrorCode
	}
	return 0
}

// explained says what to do about the errors that a setting mends.
func explained(err error, want jetstream.StreamConfig) error {
	switch apiCode(err) {
	case codeStorageExceeded, codeAccountResources:
		return fmt.Errorf("NATS cannot set aside %d bytes for it: lower nats.log.max_bytes, or raise what JetStream may use: %w", want.MaxBytes, err)
	case codeSubjectOverlap:
		return fmt.Errorf("another stream takes subjects of %s: %w", want.Subjects[0], err)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("JetStream is not there: %w", err)
	}
	return err
}

func logStreamMisfit(have, want jetstream.StreamConfig) string {
	switch {
	case !slices.Equal(have.Subjects, want.Subjects):
		return fmt.Sprintf("its subjects are %q, not %q", have.Subjects, want.Subjects)
	case have.Mirror != nil || len(have.Sources) > 0:
		return "it copies other streams"
	case have.SubjectTransform != nil:
		return "it changes the subjects of what it takes"
	case have.Sealed:
		return "it is sealed"
	case have.NoAck:
		return "it does not acknowledge what is published to it"
	case have.Retention != want.Retention:
		return fmt.Sprintf("its retention is %s, not %s", have.Retention, want.Retention)
	case have.Storage != want.Storage:
		return fmt.Sprintf("it is in %s, not in a %s", have.Storage, want.Storage)
	case have.PersistMode == jetstream.AsyncPersistMode:
		return "it acknowledges before it has stored"
	}
	return ""
}

func logStreamOverlay(have, want jetstream.StreamConfig) (jetstream.StreamConfig, []string) {
	var changed []string
	note := func(name string, differs bool) {
		if differs {
			changed = append(changed, name)
		}
	}
	note("max_age", have.MaxAge != want.MaxAge)
	note("max_bytes", have.MaxBytes != want.MaxBytes)
	note("max_msgs", have.MaxMsgs != want.MaxMsgs)
	note("max_msgs_per_subject", have.MaxMsgsPerSubject != want.MaxMsgsPerSubject)
	note("max_msg_size", have.MaxMsgSize != want.MaxMsgSize)
	note("discard", have.Discard != want.Discard)
	note("duplicate_window", have.Duplicates != want.Duplicates)
	note("num_replicas", have.Replicas != want.Replicas)
	note("allow_atomic", have.AllowAtomicPublish != want.AllowAtomicPublish)
	have.MaxAge, have.MaxBytes, have.MaxMsgs = want.MaxAge, want.MaxBytes, want.MaxMsgs
	have.MaxMsgsPerSubject, have.MaxMsgSize = want.MaxMsgsPerSubject, want.MaxMsgSize
	have.Discard, have.DiscardNewPerSubject, have.Duplicates = want.Discard, false, want.Duplicates
	have.Replicas, have.AllowAtomicPublish = want.Replicas, want.AllowAtomicPublish
	return have, changed
}
