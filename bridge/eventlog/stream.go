package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
	"imctl/kv"
)

// ErrStream: the event log's stream cannot be created, or the existing one does not fit.
var ErrStream = errors.New("stream of the event log")

// streamWait bounds the creation of the stream. A cluster that starts has to elect a leader first.
const streamWait = 30 * time.Second

// streamConfig returns the stream that holds the entries. With interest retention NATS keeps an entry until all
// consumers whose filter matches have acknowledged it, and drops it if there is none. At the limit of bytes NATS
// refuses new entries: dropping old entries would take from a consumer what it was promised, while the sender sees a
// refusal. Only MaxAge, which the operator sets, loses entries.
func streamConfig(o Options) jetstream.StreamConfig {
	names := subject.Prefix(o.Prefix)
	return jetstream.StreamConfig{
		Name:               names.LogStream(),
		Subjects:           []string{names.LogAll()},
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

// streamRules say which differences from the wanted configuration are refused, and which are corrected.
var streamRules = kv.StreamRules{Misfit: streamMisfit, Overlay: streamOverlay}

// ensureStream creates the stream or updates the existing one. Several nodes may call it at once.
func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, streamWait)
	defer cancel()
	if _, err := kv.EnsureStream(ctx, js, want, streamRules, log); err != nil {
		return fmt.Errorf("%w %s: %w", ErrStream, want.Name, explained(err, want))
	}
	return nil
}

// JetStream error codes for which the client has no constants.
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

// explained adds the remedy to an error that a setting can fix.
func explained(err error, want jetstream.StreamConfig) error {
	switch apiCode(err) {
	case codeStorageExceeded, codeAccountResources:
		return fmt.Errorf("NATS cannot reserve %d bytes for it: lower nats.log.max_bytes, or raise the limits of JetStream: %w", want.MaxBytes, err)
	case codeSubjectOverlap:
		return fmt.Errorf("another stream takes subjects of %s: %w", want.Subjects[0], err)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("JetStream does not answer: %w", err)
	}
	return err
}

func streamMisfit(have, want jetstream.StreamConfig) string {
	switch {
	case !slices.Equal(have.Subjects, want.Subjects):
		return fmt.Sprintf("its subjects are %q, not %q", have.Subjects, want.Subjects)
	case have.Mirror != nil || len(have.Sources) > 0:
		return "it copies other streams (mirror or sources)"
	case have.SubjectTransform != nil:
		return "it changes the subjects of its messages"
	case have.Sealed:
		return "it is sealed"
	case have.NoAck:
		return "it does not acknowledge messages"
	case have.Retention != want.Retention:
		return fmt.Sprintf("its retention is %s, not %s", have.Retention, want.Retention)
	case have.Storage != want.Storage:
		return fmt.Sprintf("its storage is %s, not %s", have.Storage, want.Storage)
	case have.PersistMode == jetstream.AsyncPersistMode:
		return "it acknowledges messages before it stores them"
	}
	return ""
}

func streamOverlay(have, want jetstream.StreamConfig) (jetstream.StreamConfig, []string) {
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
