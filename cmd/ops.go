package cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"imctl/bridge/certs"
	"imctl/bridge/im"
)

// serveOps serves health checks, metrics and profiles for operators.
func (a *App) serveOps() {
	if a.ops == nil {
		return
	}
	a.serveOperators("operations", a.ops, a.config.opsAddress(), a.opsHandler())
}

// serveMonitor serves the monitoring of the embedded NATS server.
func (a *App) serveMonitor() {
	if a.monitor != nil {
		a.serveOperators("NATS monitoring", a.monitor, a.config.NATS.Monitor, a.backend.server.Monitor())
	}
}

// serveOperators serves a handler for operators on a listener with the configured address.
func (a *App) serveOperators(name string, l net.Listener, address string, handler http.Handler) {
	s := &http.Server{
		Handler:           a.hosts.guard(l.Addr(), handler),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	if !isLocal(l.Addr()) { // otherwise only the operator's own tools connect, which no limit may keep out
		l = a.governor.Listen(l, isLocal)
	}
	if t := a.certs.ListenerConfig(a.config.TLS.Mode, address, "h2", "http/1.1"); t != nil {
		s.TLSConfig = t
		l = tls.NewListener(l, t)
	}
	go a.serve(name+" listener", s, l)
	a.stops.add(name+" server", func(context.Context) error { return s.Close() })
}

// opsURL returns the address of the operations listener: scheme, host and port, or unix: and the path of the socket.
func (a *App) opsURL() string {
	if a.ops.Addr().Network() == "unix" {
		return addressOf(a.ops)
	}
	scheme := "http"
	if certs.Encrypted(a.config.TLS.Mode, a.config.opsAddress()) {
		scheme = "https"
	}
	return scheme + "://" + reachable(a.ops.Addr())
}

// monitorURL returns the address of the NATS server's monitoring.
func (a *App) monitorURL() string {
	scheme := "http"
	if certs.Encrypted(a.config.TLS.Mode, a.config.NATS.Monitor) {
		scheme = "https"
	}
	return scheme + "://" + reachable(a.monitor.Addr())
}

func (a *App) opsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, "ok", nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, a.readyText(), a.ready()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelWarn)}))
	if a.config.Ops.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// ready returns nil while logins and dialogues work.
func (a *App) ready() error {
	if a.draining.Load() {
		return errors.New("shutting down")
	}
	if err := a.backend.healthy(); err != nil {
		return err
	}
	err := a.bridge.Ready()
	if errors.Is(err, im.ErrRestoring) {
		err = fmt.Errorf("%w; if it was interrupted, complete it with %s", im.ErrRestoring, completeLine(a.config))
	}
	return err
}

// readyText returns the answer of /readyz for a ready server. A read-only server is ready, and so is one whose event log
// is full: a load balancer that removes the node would end its sessions, and the other nodes on the same NATS could not
// store anything either.
func (a *App) readyText() string {
	text := "ok"
	if err := a.backend.readOnly(); err != nil {
		text += ", " + err.Error()
	}
	if err := a.bridge.Degraded(); err != nil {
		text += ", degraded: " + err.Error()
	}
	if why := a.bridge.LogDegraded(); why != "" {
		text += ", degraded: " + why
	}
	return text
}

// writeHealth answers a health check with 200 and ok, or with 503 and err.
func writeHealth(w http.ResponseWriter, ok string, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(err.Error() + "\n"))
		return
	}
	_, _ = w.Write([]byte(ok + "\n"))
}
