package kv

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go/jetstream"
)

// TestRetrySettling checks that a stream that is being created is waited for, and that a missing one is an error.
func TestRetrySettling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		err := retrySettling(t.Context(), func(context.Context) error {
			if calls++; calls < 4 {
				return jetstream.ErrStreamNotFound
			}
			return nil
		})
		if err != nil || calls != 4 {
			t.Errorf("a stream that appears: %d calls, %v", calls, err)
		}
		calls = 0
		err = retrySettling(t.Context(), func(context.Context) error { calls++; return jetstream.ErrStreamNotFound })
		if !errors.Is(err, jetstream.ErrStreamNotFound) || calls != settleAttempts {
			t.Errorf("a missing stream: %d calls, %v", calls, err)
		}
		calls = 0
		other := errors.New("other")
		if err = retrySettling(t.Context(), func(context.Context) error { calls++; return other }); !errors.Is(err, other) || calls != 1 {
			t.Errorf("another error: %d calls, %v", calls, err)
		}
	})
}
