package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// watchEvery is how often a running NATS server is checked for failed writes. An error in its log triggers a check
// too.
const watchEvery = time.Second

// Healthy returns nil while the server accepts connections, JetStream runs, and every stream on the disk exists and
// can be written. While the disk is read-only, Healthy ignores streams that can't be written.
//
// A node of a cluster is healthy while the cluster has a leader that the node hears of, whether or not the node's own
// replicas are current: other nodes have the records too.
func (s *Server) Healthy() error {
	ns := s.ns.Load()
	if s.config.cluster == nil {
		return s.healthy(ns)
	}
	return s.clusterHealthy(ns)
}

func (s *Server) healthy(ns *natsserver.Server) error {
	if !ns.JetStreamEnabled() {
		return errors.New("NATS server: JetStream is not running")
	}
	readOnly := s.disk.ReadOnly() != nil
	h := ns.Healthz(&natsserver.HealthzOptions{Details: true})
	for _, e := range h.Errors {
		if !readOnly || !isWriteError(e) {
			return fmt.Errorf("NATS server: %s", e.Error)
		}
	}
	if h.Error != "" {
		return fmt.Errorf("NATS server: %s", h.Error)
	}
	return nil
}

// Failed returns a channel that receives one error if a running server can't go on: JetStream has stopped, a stream
// can't be written for another reason than a full disk, or the restart after a full disk has failed.
func (s *Server) Failed() <-chan error { return s.failed }

// watch checks the disk and the NATS server until ctx is done or the server has failed.
func (s *Server) watch(ctx context.Context) {
	defer close(s.watched)
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
			s.disk.tick()
			continue
		case <-tick.C:
			s.disk.tick()
			if s.disk.roomy() {
				check.Stop()
			} else {
				check.Reset(checkEvery)
			}
		case <-s.log.wake:
		}
		s.noteLeader(s.ns.Load(), time.Now())
		if err := s.maintain(ctx); err != nil {
			if ctx.Err() == nil {
				s.failed <- err
			}
			return
		}
	}
}

// broken returns an error from which the NATS server does not recover by itself. Healthy also reports temporary
// errors.
func (s *Server) broken() error {
	if err := s.log.err(); err != nil {
		return err
	}
	ns := s.ns.Load()
	if !ns.JetStreamEnabled() {
		return errors.New("NATS server: JetStream stopped")
	}
	// nats-server keeps the first failed write of a stream and refuses all later writes.
	h := ns.Healthz(&natsserver.HealthzOptions{Details: true})
	for _, e := range h.Errors {
		if isWriteError(e) {
			return fmt.Errorf("NATS server: %s", e.Error)
		}
	}
	return nil
}

func isWriteError(e natsserver.HealthzError) bool {
	return strings.Contains(e.Error, " write error: ")
}
