package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
var logStreamRules = kv.StreamRules{
	Misfit: func(have, _ jetstream.StreamConfig) string {
		if have.SubjectTransform != nil {
			return "it changes the subjects of messages"
		}
		return ""
	},
	Update: func(u *kv.StreamUpdate, want jetstream.StreamConfig) {
		kv.SetField(u, "max_age", &u.MaxAge, want.MaxAge)
		kv.SetField(u, "max_bytes", &u.MaxBytes, want.MaxBytes)
		kv.SetField(u, "max_msgs", &u.MaxMsgs, want.MaxMsgs)
		kv.SetField(u, "max_msgs_per_subject", &u.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
		kv.SetField(u, "max_msg_size", &u.MaxMsgSize, want.MaxMsgSize)
		kv.SetField(u, "discard", &u.Discard, want.Discard)
		kv.SetField(u, "discard_new_per_subject", &u.DiscardNewPerSubject, want.DiscardNewPerSubject)
		kv.SetField(u, "duplicate_window", &u.Duplicates, want.Duplicates)
		kv.SetField(u, "num_replicas", &u.Replicas, want.Replicas)
		kv.SetField(u, "allow_atomic", &u.AllowAtomicPublish, want.AllowAtomicPublish)
	},
}

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
