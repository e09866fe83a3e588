package cmd

import (
	"net/http"
	"strings"
	"testing"
)

// TestReadyDuringOutage: while NATS is away, /readyz of each server answers 503 with the reason. The servers recover
// without a restart, and log both.
func TestReadyDuringOutage(t *testing.T) {
	t.Parallel()
	there := startExternalNATS(t)
	all := bridges{start(t, there.attached), start(t, there.attached)}
	for _, s := range all {
		s.mayLog = []string{"NATS", "the event log is not written"}
	}
	w := newWorld(t, all)
	a, b := w.newFriends(t)
	there.stop()
	for _, s := range all {
		eventually(t, "503", func() bool {
			body, status := s.readyz(t)
			return status == http.StatusServiceUnavailable && strings.Contains(body, "NATS")
		})
	}
	if code := a.talk(t, b, "1"); code != 507 {
		t.Errorf("dialogue during the outage: got code %d, want 507", code)
	}
	there.start(t)
	for _, s := range all {
		eventually(t, "200", func() bool { _, status := s.readyz(t); return status == http.StatusOK })
		for _, line := range []string{`level=ERROR msg="NATS is unreachable"`, `level=INFO msg="NATS is reachable again"`} {
			eventually(t, line, func() bool { return strings.Contains(s.log.String(), line) })
		}
	}
	eventually(t, "a dialogue to the other server", func() bool { return a.talk(t, b, "2") == 200 })
}

// readyz returns the body and the status of /readyz.
func (s *server) readyz(t testing.TB) (string, int) {
	t.Helper()
	body, status, err := fetch("http://" + reachable(s.app.ops.Addr()) + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	return body, status
}
