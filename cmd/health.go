package cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imctl/bridge/certs"
)

// maxHealth limits the answer of /readyz that is read.
const maxHealth = 64 * KiB

func newHealth(env *Env) *cobra.Command {
	timeout := connectTimeout
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask the server on this machine whether it is ready",
		Long: `Ask the server on this machine whether it is ready, and print its answer. It is meant for the health checks
of containers: it requests /readyz at ops.listen, and needs no credentials and no data directory.

The exit code is 0 if the server is ready, 1 if it is not, and 5 if it does not answer.`,
		Example: "  imctl health\n  imctl health --ops.listen 127.0.0.1:8081 --timeout 2s",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usageErrorf("--timeout must be positive")
			}
			config, err := loadConfig(env, c.Flags())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			return askHealth(ctx, env, config)
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", timeout, "time to wait for the answer")
	addSettingFlags(c.Flags(), "ops.listen", "tls.mode")
	return c
}

// askHealth requests /readyz at ops.listen and prints the answer.
func askHealth(ctx context.Context, env *Env, config *Config) error {
	listen := config.Ops.Listen
	if listen == "" {
		return usageErrorf("ops.listen is empty: set it to an address, since imctl health asks there")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, healthURL(config), nil)
	if err != nil {
		return usageErrorf("ops.listen %s: %v", listen, err)
	}
	client := &http.Client{Transport: healthTransport(listen)}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return &failure{exitNoServer, fmt.Errorf("no answer from %s: %w", listen, err),
			"start a server with imctl serve, or set ops.listen to its address"}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(maxHealth)))
	if err != nil {
		return &failure{code: exitNoServer, err: fmt.Errorf("answer from %s: %w", listen, err)}
	}
	text := strings.TrimSpace(string(body))
	switch response.StatusCode {
	case http.StatusOK:
		_, err = fmt.Fprintln(env.Out, text)
		return err
	case http.StatusServiceUnavailable:
		return errors.New("not ready: " + text)
	}
	return fmt.Errorf("%s answers %s: it is not the operations listener of imctl", listen, response.Status)
}

// healthURL returns the URL of /readyz. A wildcard address is reached by the loopback address.
func healthURL(config *Config) string {
	listen := config.Ops.Listen
	if strings.HasPrefix(listen, unixPrefix) {
		return "http://localhost/readyz"
	}
	scheme := "http"
	if certs.Encrypted(config.TLS.Mode, listen) {
		scheme = "https"
	}
	if host, port, err := net.SplitHostPort(listen); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		listen = net.JoinHostPort("localhost", port)
	}
	return scheme + "://" + listen + "/readyz"
}

// healthTransport connects to listen. It does not verify the certificate: that names the host that clients use, while
// the request goes to an address of this machine, carries no secret and only reads whether the server is ready.
func healthTransport(listen string) *http.Transport {
	dialer := &net.Dialer{Timeout: time.Minute} // the context ends earlier
	return &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if path, ok := strings.CutPrefix(listen, unixPrefix); ok {
				network, address = "unix", path
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
}
