package governor

import (
	"time"

	"golang.org/x/time/rate"
)

// Session limits one session by making it wait instead of refusing it. The reader of the session handles a frame, then
// sleeps for the duration that Reserve returns before it reads on, and TCP holds the sender back. It is safe for
// concurrent use.
type Session struct {
	bucket *rate.Limiter
}

// NewSession returns the limit of one session. Its bucket has burst tokens (0: r.Events) and starts full.
func NewSession(r Rate, burst int) *Session {
	if r.none() {
		return &Session{rate.NewLimiter(rate.Inf, 0)}
	}
	if burst <= 0 {
		burst = r.Events
	}
	return &Session{rate.NewLimiter(rate.Limit(float64(r.Events)/r.Per.Seconds()), burst)}
}

// Reserve takes a token and returns how long to wait until it is available, which may be 0. Each call takes a token,
// so wait before the next call.
func (s *Session) Reserve() time.Duration {
	now := time.Now()
	return s.bucket.ReserveN(now, 1).DelayFrom(now)
}
