package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
	"imctl/kv"
)

// ErrStream: the stream of the audit trail cannot be created, or the existing one does not fit.
var ErrStream = errors.New("stream of the audit trail")

// streamWait bounds the creation of the stream. A cluster that starts has to elect a leader first.
const streamWait = 30 * time.Second

// streamConfig returns the stream that holds the entries. It drops old entries and never refuses a new one. All
// subjects together fit into MaxBytes, so each drops entries of its own only.
func streamConfig(o Options) jetstream.StreamConfig {
	names := subject.Prefix(o.Prefix)
	return jetstream.StreamConfig{
		Name:               names.AuditStream(),
		Subjects:           []string{names.AuditAll()},
		Retention:          jetstream.LimitsPolicy,
		Storage:            jetstream.FileStorage,
		Replicas:           o.Replicas,
		Discard:            jetstream.DiscardOld,
		MaxAge:             o.MaxAge,
		MaxBytes:           o.MaxBytes,
		MaxMsgs:            -1,
		MaxMsgsPerSubject:  max(1, o.MaxBytes/int64(allShares)/maxEntry),
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
	codeAccountResources jetstream.ErrorCode = 10002
)

// explained adds the remedy to an error that a setting can fix.
func explained(err error, want jetstream.StreamConfig) error {
	var e *jetstream.APIError
	if errors.As(err, &e) && (e.ErrorCode == codeStorageExceeded || e.ErrorCode == codeAccountResources) {
		return fmt.Errorf("NATS cannot reserve %d bytes for it: lower nats.audit.max_bytes, or raise the limits of JetStream: %w", want.MaxBytes, err)
	}
	return err
}
