package talk

import (
	"context"
	"testing"

	"imctl/kv"
)

// TestPause: no commit starts during a pause. A pause that does not get its turn in time ends.
func TestPause(t *testing.T) {
	t.Parallel()
	s := startService(t, newURL(t), Options{})
	outcomes := make(result, 10)
	resume := s.Pause(t.Context())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.Pause(ended)()
	if err := s.Add(idB, say(idA, "1"), outcomes); err != nil {
		t.Fatal(err)
	}
	for s.mu.Lock(); s.count > 0; s.mu.Lock() { // until the writer has it
		s.mu.Unlock()
	}
	s.mu.Unlock()
	if all := read(t, s, kv.PairOf(idA, idB)); len(all) != 0 {
		t.Errorf("stored during a pause: %v", all)
	}
	resume()
	if o := <-outcomes; o.err != nil || o.d.N != 1 {
		t.Errorf("after the pause: %+v", o)
	}
	s.Pause(t.Context())()
}
