package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// repairTries is how many restarts may fail in a row.
	repairTries = 6
	// repairWait bounds one restart.
	repairWait = time.Minute
	// repairPause is the shortest pause after a failed restart, and between two repairs. It doubles each time.
	repairPause = 500 * time.Millisecond
	// repairPauseMost is the longest pause.
	repairPauseMost = time.Minute
)

// repair says when the NATS server may be restarted again because of a full disk.
type repair struct {
	next  time.Time
	pause time.Duration
}

// due reports whether the pause since the last repair is over, and begins the next, longer pause. If the last repair was
// long ago, the pauses start at repairPause again.
func (r *repair) due(now time.Time) bool {
	if now.Before(r.next) {
		return false
	}
	if now.Sub(r.next) > repairPauseMost {
		r.pause = 0
	}
	r.pause = min(max(2*r.pause, repairPause), repairPauseMost)
	r.next = now.Add(r.pause)
	return true
}

// maintain checks whether the NATS server can go on. A write that failed because the disk is full turns the disk
// read-only, which releases the reserve. nats-server then refuses all writes to that stream, so maintain restarts it as
// soon as there is some free space. An error is final.
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
	return saysDiskFull(err.Error()) || errors.Is(s.dir.probe(), ErrDiskFull)
}

// restart restarts the NATS server on the same directory and the same port. Clients and the program's own connections
// reconnect by themselves.
func (s *Server) restart(ctx context.Context) error {
	started := time.Now()
	s.log.log.Warn("restarting the NATS server: it refuses writes since its disk was full")
	stop(s.ns.Load())
	pause := repairPause
	for n := 1; ; n++ {
		err := s.rerun(ctx)
		if err == nil {
			s.log.log.Info("the NATS server has restarted", "took", time.Since(started).Round(time.Millisecond))
			return nil
		}
		if n == repairTries || ctx.Err() != nil || errors.Is(err, ErrStoreDamaged) {
			return fmt.Errorf("restart the NATS server after a full disk: %w", err)
		}
		s.log.log.Error("restart the NATS server", "try", n, "of", repairTries, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause *= 2
	}
}

func (s *Server) rerun(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, repairWait)
	defer cancel()
	s.log = newServerLog(s.log.log)
	if err := checkStore(ctx, s.dir, s.set.sync, s.log.log); err != nil {
		return err
	}
	ns, err := s.run(ctx)
	if err == nil {
		// Not earlier: the program's own connections must find the streams when they find the server.
		s.ns.Store(ns)
	}
	return err
}
