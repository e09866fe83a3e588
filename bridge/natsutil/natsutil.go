// Package natsutil has what several packages need around the NATS client.
package natsutil

import (
	"time"

	"github.com/nats-io/nats.go"
)

// Connect opens a connection to NATS with that name.
type Connect func(name string, opts ...nats.Option) (*nats.Conn, error)

// drainTimeout bounds the wait for the last messages of a subscription.
const drainTimeout = 5 * time.Second

// Drain ends a subscription and returns after its handler has run for the last time.
func Drain(s *nats.Subscription) error {
	done := make(chan struct{})
	s.SetClosedHandler(func(string) { close(done) })
	if err := s.Drain(); err != nil {
		return err
	}
	select {
	case <-done:
	case <-time.After(drainTimeout):
	}
	return nil
}
