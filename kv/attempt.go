package kv

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A server that dies, hangs or loses its leadership takes the requests with it that it has received: their answers never
// come. So a request is repeated with a new reply subject until the caller's context ends, and the new leader answers
// as soon as there is one.

const (
	// attemptTimeout bounds the first attempt of a request, and maxAttemptTimeout the later ones, which wait longer, so
	// that a slow server is not asked ever more.
	attemptTimeout, maxAttemptTimeout = time.Second, 2 * time.Second
	// nearestTimeout bounds the part of an attempt in which the nearest replica is to answer.
	nearestTimeout = 400 * time.Millisecond
	// writeTimeout bounds the first attempt of a write. Each later one may take twice as long.
	writeTimeout = 2 * time.Second
	// attemptPause is the pause after a refusal that a new leader may end.
	attemptPause = 100 * time.Millisecond
)

// repeat calls try until it succeeds, or fails with an error that no repetition helps against, or ctx ends. Only
// requests that may be carried out twice are repeated.
func (b *bucket) repeat(ctx context.Context, try func(context.Context) error) error {
	return b.repeatFor(ctx, maxAttemptTimeout, try)
}

// repeatFor is repeat with another limit of an attempt.
func (b *bucket) repeatFor(ctx context.Context, longest time.Duration, try func(context.Context) error) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	for limit := attemptTimeout; ; limit = min(2*limit, longest) {
		attempt, cancel := context.WithTimeout(ctx, limit)
		err := try(attempt)
		cancel()
		if err == nil || !b.unanswered(err) || !b.pauseAfter(ctx, err) {
			return err
		}
	}
}

// unanswered reports whether err is that of a request which no leader has answered, so that another attempt may
// succeed.
func (b *bucket) unanswered(err error) bool {
	switch {
	case Transient(err), errors.Is(err, nats.ErrTimeout):
		return true
	case hasCode(err, codeIncompleteBatch): // the leader changed during the batch
		return true
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return b.replicated() // a single server without JetStream does not get it back soon
	}
	return false
}

// pauseAfter pauses after a failed attempt that did not wait for an answer. It returns false if ctx ends.
func (b *bucket) pauseAfter(ctx context.Context, err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return ctx.Err() == nil
	}
	return sleep(ctx, attemptPause) == nil
}

// findStream returns a stream. It waits for a cluster that has no leader. Errors: jetstream.ErrStreamNotFound.
func findStream(ctx context.Context, js jetstream.JetStream, name string) (s jetstream.Stream, err error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	err = retryTransient(ctx, func(ctx context.Context) (err error) {
		s, err = js.Stream(ctx, name)
		return err
	})
	return s, err
}
