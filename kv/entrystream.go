package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// entryStreamWait bounds the creation of a stream of entries. A cluster that starts has to elect a leader first.
const entryStreamWait = 30 * time.Second

// EntryStream returns the configuration that the streams of entries have in common: the event log and the audit trail.
// The caller sets the retention, and which entries a full stream discards.
func EntryStream(name, subjects string, replicas int, maxAge time.Duration, maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               name,
		Subjects:           []string{subjects},
		Storage:            jetstream.FileStorage,
		Replicas:           replicas,
		MaxAge:             maxAge,
		MaxBytes:           maxBytes,
		MaxMsgs:            -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		MaxConsumers:       -1,
		Duplicates:         min(2*time.Minute, maxAge),
		AllowDirect:        true,
		AllowAtomicPublish: true,
	}
}

// entryStreamRules say which differences from the wanted configuration are refused, and which are corrected.
var entryStreamRules = StreamRules{
	Misfit: func(have, _ jetstream.StreamConfig) string {
		if have.SubjectTransform != nil {
			return "it changes the subjects of messages"
		}
		if have.Retention == jetstream.WorkQueuePolicy {
			return "its retention is work queue, which NATS cannot change"
		}
		return ""
	},
	Update: func(u *StreamUpdate, want jetstream.StreamConfig) {
		SetField(u, "retention", &u.Retention, want.Retention)
		SetField(u, "max_age", &u.MaxAge, want.MaxAge)
		SetField(u, "max_bytes", &u.MaxBytes, want.MaxBytes)
		SetField(u, "max_msgs", &u.MaxMsgs, want.MaxMsgs)
		SetField(u, "max_msgs_per_subject", &u.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
		SetField(u, "max_msg_size", &u.MaxMsgSize, want.MaxMsgSize)
		SetField(u, "discard", &u.Discard, want.Discard)
		SetField(u, "discard_new_per_subject", &u.DiscardNewPerSubject, want.DiscardNewPerSubject)
		SetField(u, "duplicate_window", &u.Duplicates, want.Duplicates)
		SetField(u, "num_replicas", &u.Replicas, want.Replicas)
		SetField(u, "allow_direct", &u.AllowDirect, want.AllowDirect)
		SetField(u, "allow_atomic", &u.AllowAtomicPublish, want.AllowAtomicPublish)
	},
}

// EnsureEntryStream creates a stream of entries, or updates the existing one. Several nodes may call it at once. setting
// is the key of the setting of its size, which errors name as a remedy.
//
// Errors: ErrStreamMismatch, and those of NATS.
func EnsureEntryStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, setting string, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, entryStreamWait)
	defer cancel()
	_, err := EnsureStream(ctx, js, want, entryStreamRules, log)
	return explained(err, want, setting)
}

// JetStream error codes for which the client has no constants.
const (
	codeStorageExceeded  jetstream.ErrorCode = 10047
	codeSubjectOverlap   jetstream.ErrorCode = 10065
	codeAccountResources jetstream.ErrorCode = 10002
)

// explained adds the remedy to an error that a setting can fix.
func explained(err error, want jetstream.StreamConfig, setting string) error {
	var e *jetstream.APIError
	if errors.As(err, &e) {
		switch e.ErrorCode {
		case codeStorageExceeded, codeAccountResources:
			return fmt.Errorf("NATS cannot reserve %d bytes for it: lower %s, or raise the limits of JetStream: %w", want.MaxBytes, setting, err)
		case codeSubjectOverlap:
			return fmt.Errorf("another stream takes subjects of %s: %w", want.Subjects[0], err)
		}
	}
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("JetStream does not answer: %w", err)
	}
	return err
}
