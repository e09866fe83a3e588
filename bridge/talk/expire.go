package talk

import (
	"cmp"
	"time"
)

// expire refuses the dialogues of a conversation that have waited for too long, or all of them if the service ends. The
// caller holds s.mu, and owns the conversation or finds it in s.tasks.
func (s *Service) expire(c *conversation, now time.Time) (jobs []*job) {
	reason, over := errExpired, func(it *item) bool { return it.expired(now) }
	if s.ctx.Err() != nil || s.closed && now.After(s.closeBy) {
		reason, over = errClosed, func(*item) bool { return true }
	}
	reason = cmp.Or(c.refused, reason)
	if j := s.expireJob(c, reason, over); j != nil {
		jobs = append(jobs, j)
	}
	if j := s.drop(c, reason, over); j != nil {
		jobs = append(jobs, j)
	}
	return jobs
}

// expireJob returns a job that refuses the dialogues of a conversation's job that are over, or nil. The others go on
// waiting for its outcome. Without any of these the job ends, and the newest record is read again.
func (s *Service) expireJob(c *conversation, reason error, over func(*item) bool) (failed *job) {
	if c.job == nil {
		return nil
	}
	waiting := false
	for _, it := range c.job.items {
		if it.done == nil {
			continue
		}
		if !over(it) {
			waiting = true
			continue
		}
		if failed == nil {
			failed = newJob(c)
			failed.err = reason
		}
		failed.items = append(failed.items, it.abandon())
	}
	if !waiting {
		for _, it := range c.job.items {
			freeItem(it)
		}
		freeJob(c.job)
		c.job = nil
		c.forget()
	}
	return failed
}

// sweep keeps time: it refuses dialogues that have expired while all workers are busy, hands back plain dialogues while the
// service is stalled, and stores delivered ones afterwards. It rests while there is no such work.
func (s *Service) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for quiet := 0; ; {
		select {
		case <-s.ctx.Done():
			return
		case <-s.stirred:
			quiet = 0
			tick.Reset(sweepEvery)
		case now := <-tick.C:
			s.settle(s.swept(now))
			s.catchUpLate(now)
			if quiet++; quiet >= sweepsQuiet && s.rest() {
				tick.Stop()
			}
		}
	}
}

// rest lets the sweep rest, unless it has something to do. It returns true if it rests.
func (s *Service) rest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rests = s.busy == 0 && len(s.late.items) == 0 && !s.failing.Load()
	return s.rests
}

// stir ends the rest of the sweep. The caller holds s.mu.
func (s *Service) stir() {
	if s.rests {
		s.rests = false
		s.stirred <- struct{}{}
	}
}

// swept returns jobs for what has expired, and for plain dialogues that are not to wait.
func (s *Service) swept(now time.Time) (jobs []*job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.tasks {
		jobs = append(jobs, s.expire(c, now.Add(-sweepLate))...)
	}
	if s.plain > 0 && (s.failing.Load() || s.slow(now)) {
		for _, c := range s.convs {
			if j := s.shed(c); j != nil {
				jobs = append(jobs, j)
			}
		}
	}
	return jobs
}
