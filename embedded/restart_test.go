package embedded

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestConnectDuringRestart: connections that are opened while the NATS server restarts wait for the restart.
func TestConnectDuringRestart(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Log: slog.New(slog.DiscardHandler)})
	put(t, bucket(t, s, "b"), "key", []byte("value"))
	s.stop() // the watcher, which else is the only caller of restart
	<-s.watched

	restarted := make(chan struct{})
	var connecting sync.WaitGroup
	for range 4 {
		connecting.Go(func() {
			for n := 0; ; n++ {
				nc, err := s.Connect(fmt.Sprint("test ", n))
				if err != nil {
					t.Errorf("after %d connections: %v", n, err)
					return
				}
				nc.Close()
				select {
				case <-restarted:
					return
				default:
				}
			}
		})
	}
	for range 3 {
		if err := s.restart(t.Context()); err != nil {
			t.Error(err)
			break
		}
	}
	close(restarted)
	connecting.Wait()
	want(t, bucket(t, s, "b"), "key", []byte("value"))
}

// TestConnectionErrorsAreLogged: an error of an in-process connection goes to the log, with the name of the
// connection. Slow consumers are no errors, and a stopped NATS server is not reported, since the connection reconnects.
func TestConnectionErrorsAreLogged(t *testing.T) {
	t.Parallel()
	log := new(logBuffer)
	s := start(t, Options{Dir: openDir(t, t.TempDir()), Log: log.logger(slog.LevelInfo)})
	nc, err := s.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	handle := nc.ErrorHandler()
	handle(nc, nil, fmt.Errorf("flush: %w", io.ErrClosedPipe))
	if log.String() != "" {
		t.Errorf("a stopped server is logged: %s", log)
	}
	for err, level := range map[error]string{nats.ErrSlowConsumer: "level=INFO", nats.ErrPermissionViolation: "level=ERROR"} {
		handle(nc, nil, err)
		line := log.String()[strings.LastIndexByte(strings.TrimSpace(log.String()), '\n')+1:]
		for _, words := range []string{level, `connection=test`, err.Error()} {
			if !strings.Contains(line, words) {
				t.Errorf("got the line %q, want %q in it", line, words)
			}
		}
	}
}
