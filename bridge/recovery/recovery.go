// Package recovery keeps a panic in one request, message or session from ending the process.
package recovery

import (
	"log/slog"
	"runtime/debug"
)

// Log recovers from a panic and logs it with its stack. Defer it directly: defer recovery.Log(log, "command").
func Log(log *slog.Logger, where string) {
	if p := recover(); p != nil {
		log.Error("panic", "in", where, "panic", p, "stack", string(debug.Stack()))
	}
}
