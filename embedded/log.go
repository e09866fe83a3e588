package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// serverLog is the log of a NATS server. It writes to slog and keeps the fatal line. The default logger of nats-server
// would exit the process or discard the line.
type serverLog struct {
	log     *slog.Logger
	clients *repeated // errors of clients

	mu    sync.Mutex // guards fatal
	fatal error

	wake chan struct{} // signals the watcher after an error; has room for one signal
}

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{log: log, clients: newRepeated(log), wake: make(chan struct{}, 1)}
}

// Noticef logs at level debug, since the program logs what an operator needs to know.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(formatLine(format, v)) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log.Debug(formatLine(format, v)) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log.Debug(formatLine(format, v)) }

func (l *serverLog) Warnf(format string, v ...any) {
	s := formatLine(format, v)
	level := slog.LevelWarn
	if strings.HasPrefix(s, "Auth callout ") {
		level = slog.LevelDebug // a refused login, which the program logs
	}
	l.log.Log(context.Background(), level, s)
}

func (l *serverLog) Errorf(format string, v ...any) {
	s := formatLine(format, v)
	if l.clients.add(s) {
		return // it is about one client connection, for example a wrong password
	}
	l.log.Error(s)
	l.wakeWatcher()
}

// Fatalf keeps the first line as the error of the server, which the caller reports. Later lines are mostly its
// consequences.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	if l.fatal == nil {
		l.fatal = fmt.Errorf("NATS server: %s", formatLine(format, v))
	}
	l.mu.Unlock()
	l.wakeWatcher()
}

// err returns the fatal line as an error, nil if there is none.
func (l *serverLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *serverLog) wakeWatcher() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func formatLine(format string, v []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, v...))
}
