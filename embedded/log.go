package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// serverLog hands the server's lines to slog and keeps the fatal one: without a
// logger of ours nats-server would end the process, or say nothing at all.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex // guards fatal
	fatal error

	wake chan struct{} // holds a token after an error, for the watcher
}

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{log: log, wake: make(chan struct{}, 1)}
}

// Noticef is for the developer: what a user should know the program says itself.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(line(format, v)) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log.Debug(line(format, v)) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log.Debug(line(format, v)) }

func (l *serverLog) Warnf(format string, v ...any) {
	s := line(format, v)
	level := slog.LevelWarn
	if strings.HasPrefix(s, "Auth callout ") {
		level = slog.LevelDebug // why a login was refused, which a line of its own has said
	}
	l.log.Log(context.Background(), level, s)
}

func (l *serverLog) Errorf(format string, v ...any) {
	s := line(format, v)
	if strings.Contains(s, " - cid:") {
		// A line about one connection: a stranger's wrong password is not this
		// server's error.
		l.log.Warn(s)
		return
	}
	l.log.Error(s)
	l.rouse()
}

// Fatalf keeps the first line: those that follow are mostly its consequences. It
// is not logged, since it becomes an error that somebody reports.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	if l.fatal == nil {
		l.fatal = fmt.Errorf("NATS server: %s", line(format, v))
	}
	l.mu.Unlock()
	l.rouse()
}

func (l *serverLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *serverLog) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func line(format string, v []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, v...))
}
