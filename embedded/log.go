package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// serverLog is the log of a NATS server. It writes to slog and keeps the fatal line. The default logger of nats-server
// would exit the process or discard the line.
type serverLog struct {
	log     *slog.Logger
	clients *repeated // errors of clients
	routes  *routeErrors

	mu    sync.Mutex // guards fatal and full
	fatal error
	full  bool

	wake chan struct{} // signals the watcher after an error; has room for one signal
}

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{log: log, clients: newRepeated(log), routes: newRouteErrors(log), wake: make(chan struct{}, 1)}
}

// Noticef logs at level debug, since the program logs what an operator needs to know.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(formatLine(format, v)) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log.Debug(formatLine(format, v)) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log.Debug(formatLine(format, v)) }

func (l *serverLog) Warnf(format string, v ...any) {
	s := formatLine(format, v)
	level := slog.LevelWarn
	switch {
	case strings.HasPrefix(s, "Auth callout "):
		level = slog.LevelDebug // a refused login, which the program logs
	case strings.HasPrefix(s, "TLS certificate chain and hostname of solicited routes will not be verified"):
		level = slog.LevelDebug // secretTLS verifies the certificate
	case slices.ContainsFunc(routineWarnings, func(w string) bool { return strings.HasPrefix(s, w) }):
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, s)
}

func (l *serverLog) Errorf(format string, v ...any) {
	s := formatLine(format, v)
	if l.clients.add(s) || l.routes.add(s) {
		return // it is about one connection, for example a wrong password
	}
	if strings.HasPrefix(s, outOfSpacePrefix) {
		l.mu.Lock()
		l.full = true
		l.mu.Unlock()
	}
	l.log.Error(s)
	l.wakeWatcher()
}

// outOfSpacePrefix begins the line that nats-server logs when it stops JetStream in a cluster since its disk is full.
const outOfSpacePrefix = "JetStream out of "

// outOfSpace reports whether the server has stopped JetStream since its disk is full.
func (l *serverLog) outOfSpace() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.full
}

// routineWarnings begin lines that each start or stop of a node of a cluster causes. The start logs what it waits for.
var routineWarnings = []string{
	"Waiting for routing to be established",
	"JetStream has not established contact with a meta leader",
	"Metalayer blocking snapshot",
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
