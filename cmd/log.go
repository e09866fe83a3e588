package cmd

import (
	"io"
	"log/slog"
)

// newLogger returns the logger that the configuration asks for. The level is taken from the
// variable with every line, so that setting it changes the level of a running server.
func newLogger(w io.Writer, c LogConfig, level *slog.LevelVar) *slog.Logger {
	level.Set(c.SlogLevel())
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
