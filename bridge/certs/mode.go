package certs

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// resolve checks the settings and returns the host of the listener and the effective mode.
func resolve(o Options) (host, mode string, err error) {
	host, err = hostOf(o.Listen)
	if err != nil {
		return "", "", &SettingError{"listen", fmt.Errorf("%q is not host:port", o.Listen)}
	}
	if (o.Cert == "") != (o.Key == "") {
		missing, other := "tls.key", "tls.cert"
		if o.Cert == "" {
			missing, other = other, missing
		}
		return "", "", &SettingError{missing, fmt.Errorf("is required with %s", other)}
	}
	mode = o.Mode
	switch mode {
	case ModeAuto, "":
		mode = choose(o, host)
	case ModeOff, ModeFiles, ModeACME, ModeSelfSigned:
	default:
		return "", "", &SettingError{"tls.mode", fmt.Errorf("%q is not auto, off, files, acme or self-signed", o.Mode)}
	}
	return host, mode, check(o, mode)
}

// choose returns the effective mode of ModeAuto.
func choose(o Options, host string) string {
	switch {
	case isLoopback(host):
		elsewhere := slices.ContainsFunc(o.Others, func(listen string) bool { return Encrypted(o.Mode, listen) })
		if (o.Cert != "" || len(o.Domains) > 0) && !elsewhere {
			o.Log.Warn("the certificate settings are not used: a loopback address is served without TLS unless tls.mode is set",
				"listen", o.Listen)
		}
		return ModeOff
	case o.Cert != "":
		return ModeFiles
	case len(o.Domains) > 0:
		return ModeACME
	default:
		return ModeSelfSigned
	}
}

// unixPrefix begins the address of a Unix socket, which clients on this machine alone reach.
const unixPrefix = "unix:"

// hostOf returns the host of an address, and localhost for a Unix socket.
func hostOf(listen string) (string, error) {
	if strings.HasPrefix(listen, unixPrefix) {
		return "localhost", nil
	}
	host, _, err := net.SplitHostPort(listen)
	return host, err
}

// isLoopback reports whether host is localhost or a loopback address. Other names would need a lookup, whose result
// can change.
func isLoopback(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// check returns an error if a setting that mode needs is missing or invalid.
func check(o Options, mode string) error {
	switch mode {
	case ModeFiles:
		if o.Cert == "" {
			return &SettingError{"tls.cert", errors.New("mode files needs tls.cert and tls.key")}
		}
	case ModeACME:
		if len(o.Domains) == 0 {
			return &SettingError{"tls.domains", errors.New("mode acme needs at least one domain")}
		}
		if err := checkEmail(o.Email); err != nil {
			return &SettingError{"tls.email", err}
		}
		if err := checkDirectory(o.Directory); err != nil {
			return &SettingError{"tls.directory", err}
		}
	}
	if (mode == ModeACME || mode == ModeSelfSigned) && o.Dir == "" {
		return &SettingError{"data", fmt.Errorf("mode %s needs a data directory", mode)}
	}
	return nil
}

func checkEmail(email string) error {
	if email == "" {
		return nil
	}
	if a, err := mail.ParseAddress(email); err != nil || a.Address != email {
		return fmt.Errorf("%q is not a mail address", email)
	}
	return nil
}

func checkDirectory(directory string) error {
	if directory == "" {
		return nil
	}
	u, err := url.Parse(directory)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		// The value is not shown, since it may have a password.
		return errors.New("is not an https URL of an ACME directory")
	}
	return nil
}

// publicDomain returns a domain in the form of certificates and TLS handshakes, or an error if an authority cannot
// certify it with a tls-alpn-01 challenge.
func publicDomain(name string) (string, error) {
	trimmed := strings.TrimSuffix(strings.TrimSpace(name), ".")
	if strings.HasPrefix(trimmed, "*.") {
		return "", fmt.Errorf("%q is a wildcard, which ACME certifies only by DNS: list each domain", name)
	}
	if _, err := netip.ParseAddr(trimmed); err == nil {
		return "", fmt.Errorf("%q is an address: ACME needs a domain", name)
	}
	ascii, err := idna.Lookup.ToASCII(trimmed)
	if err != nil || len(ascii) > 253 {
		return "", fmt.Errorf("%q is not a domain", name)
	}
	labels := strings.Split(ascii, ".")
	if len(labels) < 2 {
		return "", fmt.Errorf("%q is not a full domain, such as chat.example.org", name)
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("%q is not a domain", name)
		}
	}
	return ascii, nil
}
