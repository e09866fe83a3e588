package governor

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// logBuffer keeps the log of a governor.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines returns the log lines that contain text.
func (l *logBuffer) lines(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// newGovernor returns a governor and its log.
func newGovernor(t testing.TB, opts Options) (*Governor, *logBuffer) {
	log := new(logBuffer)
	g := New(opts, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(g.Close)
	return g, log
}
