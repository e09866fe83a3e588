package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// attempts bounds how often a compare-and-swap is tried. Changes of one key on one node wait for
// each other (see keymutex), so only other nodes make it fail.
const attempts = 16

// JetStream's own names for passing trouble, which the client has no constants for.
const (
	clusterNotAvailable jetstream.ErrorCode = 10008 // JetStream system temporarily unavailable
	clusterNotLeader    jetstream.ErrorCode = 10009
	noPeers             jetstream.ErrorCode = 10005 // the cluster's nodes are not all there yet
	createFailed        jetstream.ErrorCode = 10049 // JetStream could not make a stream; the reason is in words
)

// conflicting tells that somebody else wrote a key first. The same conflict has one code where the
// stream has one replica and, while the other's write is still being agreed on, another where it has several.
func conflicting(err error) bool {
	var apiErr *jetstream.APIError
	return errors.As(err, &apiErr) &&
		(apiErr.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
			apiErr.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// crowded tells that the stream has no room for another atomic batch right now. One node bounds its
// own; several nodes together may still meet the server's limit.
func crowded(err error) bool {
	return errors.Is(err, jetstreamext.ErrAtomicPublishTooManyInflight)
}

// Transient tells that waiting may help, while a cluster starts or elects another leader.
func Transient(err error) bool {
	var apiErr *jetstream.APIError
	if errors.As(err, &apiErr) {
		return apiErr.ErrorCode == clusterNotAvailable || apiErr.ErrorCode == clusterNotLeader || apiErr.ErrorCode == noPeers
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// swap calls try until it neither conflicts nor finds the stream crowded, at most attempts times.
// try reads, decides and writes. Returns try's error, or ErrConflict.
func swap(ctx context.Context, try func(context.Context) error) error {
	var err error
	for n := range attempts {
		if n > 0 {
			// Up to 1, 2, 4 … 128 ms: long enough that not everybody comes back at once.
			most := time.Millisecond << min(n-1, 7)
			if err := sleep(ctx, time.Duration(rand.Int64N(int64(most)))); err != nil {
				return err
			}
		}
		if err = try(ctx); !conflicting(err) && !crowded(err) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrConflict, err)
}

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
