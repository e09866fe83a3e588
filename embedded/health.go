package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// watchEvery is how often a running server is asked whether it can still write.
// An error in its log asks at once.
const watchEvery = time.Second

// Healthy is nil while the server takes connections, JetStream is up and every
// stream on the disk is there and can be written.
func (s *Server) Healthy() error {
	if !s.ns.JetStreamEnabled() {
		return errors.New("NATS server: JetStream is not running")
	}
	h := s.ns.Healthz(&natsserver.HealthzOptions{})
	if h.Error != "" {
		return fmt.Errorf("NATS server: %s", h.Error)
	}
	return nil
}

// Failed delivers one error when a server that was up can't go on: JetStream
// stopped, or a stream can't be written any more, mostly because the disk is full
// (ErrDiskFull). Neither heals without a restart.
func (s *Server) Failed() <-chan error { return s.failed }

func (s *Server) watch(ctx context.Context) {
	defer close(s.watched)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.log.wake:
		}
		if err := s.broken(); err != nil {
			s.failed <- err
			return
		}
	}
}

// broken is narrower than Healthy: only what does not heal by itself.
func (s *Server) broken() error {
	if err := s.log.err(); err != nil {
		return err
	}
	err := s.writeError()
	if err == nil {
		return nil
	}
	// The server only has the system's words for it; our own attempt tells.
	if full := s.dir.probe(); errors.Is(full, ErrDiskFull) {
		return full
	}
	return err
}

func (s *Server) writeError() error {
	if !s.ns.JetStreamEnabled() {
		return errors.New("NATS server: JetStream stopped")
	}
	// nats-server keeps the first failed write of a stream and refuses all that
	// come after it.
	h := s.ns.Healthz(&natsserver.HealthzOptions{Details: true})
	for _, e := range h.Errors {
		if e.Type == natsserver.HealthzErrorStream && strings.Contains(e.Error, " write error: ") {
			return fmt.Errorf("NATS server: %s", e.Error)
		}
	}
	return nil
}
