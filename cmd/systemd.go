package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// systemdStatusEvery is the interval at which systemd learns the status of the server.
const systemdStatusEvery = 10 * time.Second

// notifySystemd tells systemd the state of the service (sd_notify), and does nothing if systemd did not start it.
func notifySystemd(log *slog.Logger, states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		log.Warn("tell systemd the state of the service", "err", err)
	}
}

// reportToSystemd tells systemd the status of the server, and that it is alive if the unit has WatchdogSec, until ctx
// is done. A server whose sessions are locked up counts as dead. One without NATS does not, since a restart does not
// help.
func (a *App) reportToSystemd(ctx context.Context) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return
	}
	every := systemdStatusEvery
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		a.log.Warn("read the watchdog's interval of systemd", "err", err)
	}
	if watchdog > 0 {
		every = min(every, watchdog/2)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := ""
	for {
		var states []string
		if status := "STATUS=" + a.statusLine(); status != last {
			states, last = append(states, status), status
		}
		if watchdog > 0 {
			states = append(states, daemon.SdNotifyWatchdog)
		}
		if len(states) > 0 {
			notifySystemd(a.log, states...)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// statusLine describes the server in one line, as systemctl status shows it.
func (a *App) statusLine() string {
	sessions, users := a.bridge.Load()
	line := fmt.Sprintf("%d sessions, %d users", sessions, users)
	if err := a.ready(); err != nil {
		line = err.Error() + "; " + line
	}
	return strings.ReplaceAll(line, "\n", " ")
}
