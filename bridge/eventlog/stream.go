package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
var streamRules = kv.StreamRules{
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
