package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// repairTries is how many restarts in a row may fail.
	repairTries = 6
	// repairTimeout bounds one restart.
	repairTimeout = time.Minute
	// minRepairPause is the shortest pause after a failed restart, and between two repairs. The pause doubles each
	// time.
	minRepairPause = 500 * time.Millisecond
	// maxRepairPause is the longest pause between two repairs.
	maxRepairPause = time.Minute
)

// repair schedules the restarts of the NATS server after a full disk.
type repair struct {
	next  time.Time
	pause time.Duration
}

// due reports whether the pause since the last repair is over, and begins the next, longer pause. If the last repair
// was long ago, the pauses start at minRepairPause again.
func (r *repair) due(now time.Time) bool {
	if now.Before(r.next) {
		return false
	}
	if now.Sub(r.next) > maxRepairPause {
		r.pause = 0
	}
	r.pause = min(max(2*r.pause, minRepairPause), maxRepairPause)
	r.next = now.Add(r.pause)
	return true
}

// maintain checks whether the NATS server can go on. A write that failed because the disk is full turns the disk
// read-only, which releases the reserve. nats-server then refuses all writes to that stream, so maintain restarts it
// as soon as there is some free space. After an error the server can't go on.
func (s *Server) maintain(ctx context.Context) error {
	err := s.broken()
	if err != nil {
		if !s.lacksSpace(err) {
			return err
		}
		s.disk.writeFailed(err.Error())
		if s.dir.probe() != nil {
			s.disk.releaseSlice()
			return nil
		}
		if !s.repair.due(time.Now()) {
			return nil
		}
		if err := s.restart(ctx); err != nil {
			return err
		}
	}
	s.disk.recover()
	return nil
}

// lacksSpace reports whether a write failed because the disk is full. The NATS server passes on only the text of the
// system's error, so lacksSpace also tries to write a file itself.
func (s *Server) lacksSpace(err error) bool {
	return saysDiskFull(err.Error()) || s.log.outOfSpace() || errors.Is(s.dir.probe(), ErrDiskFull)
}

// restart restarts the NATS server on the same directory and the same port. Clients and in-process connections
// reconnect by themselves.
func (s *Server) restart(ctx context.Context) error {
	s.restarting.Lock()
	defer s.restarting.Unlock()
	started := time.Now()
	s.logger.Warn("restarting the NATS server: it refuses writes since its disk was full")
	stop(s.ns.Load())
	pause := minRepairPause
	for n := 1; ; n++ {
		err := s.rerun(ctx)
		if err == nil {
			s.logger.Info("the NATS server has restarted", "took", time.Since(started).Round(time.Millisecond))
			return nil
		}
		if n == repairTries || ctx.Err() != nil || errors.Is(err, ErrStoreDamaged) {
			return fmt.Errorf("restart the NATS server after a full disk: %w", err)
		}
		s.logger.Error("restart the NATS server", "try", n, "of", repairTries, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// rerun starts a NATS server in place of one that has stopped.
func (s *Server) rerun(ctx context.Context) error {
	if s.config.cluster == nil { // a node waits for its cluster as long as it takes
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, repairTimeout)
		defer cancel()
	}
	s.log.clients.close()
	s.log = newServerLog(s.logger)
	s.clients.Store(s.log.clients)
	if err := s.checkData(ctx); err != nil {
		return err
	}
	ns, err := s.run(ctx)
	if err == nil {
		// Only a ready server replaces the old one, so that in-process connections that reconnect find the streams.
		s.ns.Store(ns)
	}
	return err
}
