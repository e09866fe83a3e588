package certs

import (
	"crypto/tls"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Encrypted reports whether a listener other than the front uses TLS with this tls.mode: unless its address is a loopback
// address or a Unix socket, or mode is ModeOff. Any other address that is not host:port counts as no loopback address.
func Encrypted(mode, listen string) bool {
	host, err := hostOf(listen)
	return mode != ModeOff && (err != nil || !isLoopback(host))
}

// Plain reports whether a listener serves clients on other machines without TLS, which only ModeOff allows.
func Plain(mode, listen string) bool {
	host, err := hostOf(listen)
	return mode == ModeOff && listen != "" && (err != nil || !isLoopback(host))
}

// addOthers creates the self-signed certificate, if a listener needs it, and the provider of the other listeners.
// front is the mode of the front.
func (s *Source) addOthers(o Options, front string) (err error) {
	var hosts []string
	for _, listen := range o.Others {
		if host, err := hostOf(listen); err == nil && Encrypted(o.Mode, listen) {
			hosts = append(hosts, host)
		}
	}
	encrypted := len(hosts) > 0
	if front == ModeSelfSigned {
		host, _ := hostOf(o.Listen) // resolve has checked it
		hosts = append(hosts, host)
	}
	if len(hosts) == 0 {
		return nil
	}
	if s.own, err = newSelfSigned(o, hosts...); err != nil || !encrypted {
		return err
	}
	mode := othersMode(o, front)
	switch {
	case mode == front && s.provider != nil:
		s.others = s.provider
	case mode == ModeFiles:
		s.others, err = newFiles(o)
	default:
		s.others = s.own
	}
	return err
}

// othersMode returns the effective mode of listeners other than the front. An ACME authority connects to the front
// only: if the front does not use its certificates, there are none.
func othersMode(o Options, front string) string {
	switch {
	case o.Mode != ModeAuto && o.Mode != "":
		return o.Mode
	case o.Cert != "":
		return ModeFiles
	case len(o.Domains) > 0 && front == ModeACME:
		return ModeACME
	}
	return ModeSelfSigned
}

// ListenerConfig returns a new configuration for a listener in Options.Others, or nil if it does not use TLS.
// protocols are for ALPN. A client on this machine that connects to an address or to localhost gets the self-signed
// certificate, which CAFile names, since other certificates have no such names.
func (s *Source) ListenerConfig(mode, listen string, protocols ...string) *tls.Config {
	if s.others == nil || !Encrypted(mode, listen) {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if isLocal(hello) {
				return s.own.certificate(hello)
			}
			return s.others.certificate(hello)
		},
	}
}

// OwnFile returns the file with the self-signed certificate in the directory Options.Dir.
func OwnFile(dir string) string { return filepath.Join(dir, "self-signed.crt") }

// CAFile returns the file with the certificate that clients on this machine verify, or "" if no listener but the front
// uses TLS.
func (s *Source) CAFile() string {
	if s.others == nil {
		return ""
	}
	return s.own.certFile
}

// isLocal reports whether a client connects from this machine, and to no name but localhost. TLS clients do not send
// an address as the server's name.
func isLocal(hello *tls.ClientHelloInfo) bool {
	if hello.ServerName != "" && !strings.EqualFold(hello.ServerName, "localhost") || hello.Conn == nil {
		return false
	}
	local, err := netip.ParseAddrPort(hello.Conn.LocalAddr().String())
	if err != nil {
		return false
	}
	remote, err := netip.ParseAddrPort(hello.Conn.RemoteAddr().String())
	return local.Addr().Unmap().IsLoopback() || err == nil && local.Addr().Unmap() == remote.Addr().Unmap()
}

// Expiry returns when the certificate expires that a listener serves to other machines, the earliest if there are
// several. It returns false for a listener without TLS, and while there is no certificate. listen is the front's address
// if front is set, and else that of one of the others.
func (s *Source) Expiry(mode, listen string, front bool) (time.Time, bool) {
	p := s.others
	switch {
	case front:
		p = s.provider
	case !Encrypted(mode, listen):
		return time.Time{}, false
	}
	if p == nil {
		return time.Time{}, false
	}
	at := p.expiry()
	return at, !at.IsZero()
}
