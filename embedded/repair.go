package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// repairTries is how often a restart is tried before it is given up.
	repairTries = 6
	// repairWait bounds one try.
	repairWait = time.Minute
	// repairPause is the shortest pause after a failed try, and between two repairs. It doubles each time.
	repairPause = 500 * time.Millisecond
	// repairPauseMost is the longest.
	repairPauseMost = time.Minute
)

// repair is when the NATS server may be restarted again because of a full disk.
type repair struct {
	next  time.Time
	pause time.Duration
}

// due reports whether the pause since the last repair is over, and begins the next, longer one. A repair after a long
// time of peace does not wait.
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

// tend looks whether the NATS server can go on. A write that failed for want of room turns the disk read-only, which
// releases the reserve; since nats-server refuses all writes to a stream after one failed, it is restarted as soon
// as there is some room. An error does not heal.
func (s *Server) tend(ctx context.Context) error {
	err := s.broken()
	if err != nil {
		if !s.wantsRoom(err) {
			return err
		}
		s.disk.failed(err.Error())
		if s.dir.probe() != nil {
			s.disk.yield()
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

// wantsRoom tells whether a write failed since the disk is full. The NATS server has the system's words for that, but
// not its error; an attempt of our own tells as well.
func (s *Server) wantsRoom(err error) bool {
	return saysDiskFull(err.Error()) || errors.Is(s.dir.probe(), ErrDiskFull)
}

// restart starts the NATS server anew on the same directory and the same port. The program's own connections find the new one by
// themselves, and so do clients.
func (s *Server) restart(ctx context.Context) error {
	started := time.Now()
	s.log.log.Warn("restarting the NATS server, which does not write any more after its disk was full")
	stop(s.ns.Load())
	pause := repairPause
	for n := 1; ; n++ {
		err := s.rerun(ctx)
		if err == nil {
			s.log.log.Info("the NATS server has restarted", "took", time.Since(started).Round(time.Millisecond))
			return nil
		}
		if n == repairTries || ctx.Err() != nil || errors.Is(err, ErrStoreDamaged) {
			return fmt.Errorf("restart behind a full disk: %w", err)
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
		// Only now, so that the program's own connections find streams where they find a server.
		s.ns.Store(ns)
	}
	return err
}
