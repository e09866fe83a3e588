package kv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// maxAttempts bounds how often a compare-and-swap is tried. Changes of one roster on one node wait for each other, so
// only other nodes make them fail.
const maxAttempts = 16

// Error codes of JetStream for which the client has no constants.
const (
	codeNoPeers             jetstream.ErrorCode = 10005 // not all nodes of the cluster are up yet
	codeClusterNotAvailable jetstream.ErrorCode = 10008 // JetStream system temporarily unavailable
	codeClusterNotLeader    jetstream.ErrorCode = 10009
	codeSequenceNotFound    jetstream.ErrorCode = 10043 // to delete
	codeIncompleteBatch     jetstream.ErrorCode = 10176
	codeCreateFailed        jetstream.ErrorCode = 10049 // JetStream could not create a stream; only the text has the reason
)

// hasCode reports whether err is a JetStream error with one of the codes.
func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var apiErr *jetstream.APIError
	if !errors.As(err, &apiErr) {
		return false
	}
	for _, code := range codes {
		if apiErr.ErrorCode == code {
			return true
		}
	}
	return false
}

// Conflicting reports whether err says that another caller wrote a key first, or while it was read. If the stream has
// several replicas and the other write is not committed yet, this conflict has a code of its own.
func Conflicting(err error) bool {
	return errors.Is(err, errChanged) ||
		hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// tooManyBatches reports whether err says that the stream accepts no further atomic batch at the moment. Each node
// bounds its own batches; several nodes together may still reach the server's limit.
func tooManyBatches(err error) bool {
	return hasCode(err, jetstreamext.JSErrCodeAtomicPublishTooManyInflight)
}

// Transient reports whether a retry may succeed, since a cluster is starting or electing a leader.
func Transient(err error) bool {
	var apiErr *jetstream.APIError
	if errors.As(err, &apiErr) && !errors.Is(err, errSettling) {
		return hasCode(err, codeClusterNotAvailable, codeClusterNotLeader, codeNoPeers)
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// compareAndSwap calls try, which reads, decides and writes. It retries while try conflicts or the stream accepts no
// further batch, at most maxAttempts times. Errors: ErrConflict, and those of try.
func compareAndSwap(ctx context.Context, try func(context.Context) error) error {
	var err error
	for n := range maxAttempts {
		if n > 0 {
			// Up to 1, 2, 4 ... 128 ms at random, so that not all callers retry at the same time.
			limit := time.Millisecond << min(n-1, 7)
			if err := sleep(ctx, time.Duration(rand.Int64N(int64(limit)))); err != nil {
				return err
			}
		}
		if err = try(ctx); !Conflicting(err) && !tooManyBatches(err) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrConflict, err)
}

// retryTransient calls f until it succeeds, fails with an error that is not transient, or ctx ends. A cluster that is
// starting does not answer before it has a leader.
func retryTransient(ctx context.Context, f func(context.Context) error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		attempt, cancel := context.WithTimeout(ctx, maxAttemptTimeout)
		err := f(attempt)
		cancel()
		if err == nil || !Transient(err) {
			return err
		}
		if sleep(ctx, wait) != nil {
			return fmt.Errorf("%w (the last error: %w)", cmp.Or(context.Cause(ctx), ctx.Err()), err)
		}
	}
}

// settleAttempts bounds how often retrySettling retries while a stream is not found: for about 5 s.
const settleAttempts = 10

// retrySettling is retryTransient for a request about a stream that was seen or created a moment ago. While several nodes
// create it, a server of the cluster that does not know it yet answers that it is missing.
func retrySettling(ctx context.Context, f func(context.Context) error) error {
	missing := 0
	return retryTransient(ctx, func(ctx context.Context) error {
		err := f(ctx)
		if missing++; errors.Is(err, jetstream.ErrStreamNotFound) && missing < settleAttempts {
			return fmt.Errorf("%w: %w", errSettling, err)
		}
		return err
	})
}

// errSettling is transient.
var errSettling = fmt.Errorf("the stream is being created: %w", context.DeadlineExceeded)

// sleep waits for d. It returns the error of ctx if that ends before.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Retry calls f until it succeeds, fails with an error that is not Transient, or ctx ends. Each call has a few seconds.
// While a stream of a cluster has no leader, NATS does not answer requests about it.
func Retry(ctx context.Context, f func(context.Context) error) error { return retryTransient(ctx, f) }
