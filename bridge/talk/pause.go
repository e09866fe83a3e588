package talk

import "context"

// Pause keeps commits from starting, before the connection moves to another NATS server, and returns once none is under
// way or ctx ends. resume lets them start again.
func (s *Service) Pause(ctx context.Context) (resume func()) {
	select {
	case s.commits <- struct{}{}:
		return func() { <-s.commits }
	case <-ctx.Done():
		return func() {}
	}
}
