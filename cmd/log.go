package cmd

import (
	"io"
	"log/slog"
)

// newLogger returns a logger with the configured format. It sets level to the configured level. Later changes of level
// apply at once, which lets a reload change the log level.
func newLogger(w io.Writer, c LogConfig, level *slog.LevelVar) *slog.Logger {
	level.Set(c.SlogLevel())
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
