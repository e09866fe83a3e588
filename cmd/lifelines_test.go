package cmd

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// TestLifelines: a server logs one line at its start and one at its end.
func TestLifelines(t *testing.T) {
	t.Parallel()
	s := start(t)
	w := newWorld(t, s)
	w.newFriends(t)
	w.close(t)
	s.app.logStart(t.Context(), 1234*time.Microsecond)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interruption{os.Interrupt})
	app := s.app
	s.app = nil
	if err := app.stop(ctx, nil); err != nil {
		t.Error(err)
	}
	log := s.log.String()
	for _, want := range []string{`level=INFO msg="server started" version=`, ` mode="single server" listen=http://127.0.0.1:`, " ops=http://127.0.0.1:", " data=", " users=2 took=1ms\n",
		`level=INFO msg="server stopped" reason=interrupt sessions_closed=2 took=`} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in %s", want, log)
		}
	}
	failed := errors.New("a part has failed")
	other := start(t)
	app, other.app = other.app, nil
	if err := app.stop(t.Context(), failed); !errors.Is(err, failed) || !strings.Contains(other.log.String(), `reason="a part has failed" sessions_closed=0`) {
		t.Errorf("%v, %s", err, other.log)
	}
}
