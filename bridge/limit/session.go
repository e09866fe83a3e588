package limit

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Session limits one session by making it wait rather than by refusing: its
// reader handles a frame, then sleeps for what Reserve says before it reads on,
// and TCP holds the sender back. It is safe for concurrent use.
type Session struct {
	bucket atomic.Pointer[rate.Limiter] // never nil
}

// NewSession makes the limit of one session with a bucket of burst tokens
// (0: r.Events), full at first.
func NewSession(r Rate, burst int) *Session {
	s := &Session{}
	s.bucket.Store(rate.NewLimiter(r.bucket(burst)))
	return s
}

// Reserve takes a token, and says how long to wait until it is there: 0 when it
// is there already. Each call takes one, so wait before calling again.
func (s *Session) Reserve() time.Duration {
	now := time.Now()
	return s.bucket.Load().ReserveN(now, 1).DelayFrom(now)
}

// SetRate changes the rate and the burst. The tokens stay as they are, where
// there was a limit before; otherwise the bucket is full.
func (s *Session) SetRate(r Rate, burst int) {
	old := s.bucket.Load()
	limit, burst := r.bucket(burst)
	if old.Limit() == rate.Inf {
		s.bucket.Store(rate.NewLimiter(limit, burst))
		return
	}
	old.SetLimit(limit)
	old.SetBurst(burst)
}
