package embedded

import (
	"log/slog"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// formatVersion is the version of nats-server whose file formats the format_*.go files read, one format in each file.
// TestFormatVersion lists the steps to take before this line changes.
const formatVersion = "2.15.2"

// dataCheckEnabled reports whether a start checks the files of JetStream. It does not if the caller skips the check,
// or if linked, the version of the linked nats-server, is another version than formatVersion: an unknown format would
// look like damage. dataCheckEnabled logs why there is no check.
func dataCheckEnabled(linked string, skip bool, log *slog.Logger) bool {
	switch {
	case skip:
		log.Info("the data check is off")
	case linked != formatVersion:
		log.Warn("the data check is skipped: it does not know the file formats of this nats-server",
			"version", linked, "known_version", formatVersion)
	default:
		return true
	}
	return false
}

// linkedVersion is the version of the linked nats-server.
const linkedVersion = natsserver.VERSION
