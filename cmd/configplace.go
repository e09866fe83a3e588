package cmd

import (
	"net/netip"
	"regexp"
	"runtime"
	"strconv"
)

// systemConfig returns the configuration file that packages install, "" on Windows, which has no such package.
func systemConfig() string {
	if runtime.GOOS == "windows" {
		return ""
	}
	return "/etc/imctl/" + defaultConfigFile
}

// source names the file that the configuration was read from, or the files that do not exist.
func (c *Config) source(env *Env) string {
	switch {
	case c.File != "":
		return c.File
	case env.SystemConfig != "":
		return "defaults (no " + defaultConfigFile + ", no " + env.SystemConfig + ")"
	}
	return "defaults (no " + defaultConfigFile + ")"
}

// Kubernetes sets variables for each service of the namespace, in the form of Docker's links. Those of a service named
// imctl, or imctl-nodes, begin like those of settings:
//
//	IMCTL_SERVICE_HOST=10.0.0.1
//	IMCTL_SERVICE_PORT=80
//	IMCTL_SERVICE_PORT_HTTP=80
//	IMCTL_PORT=tcp://10.0.0.1:80
//	IMCTL_PORT_80_TCP=tcp://10.0.0.1:80, and …_PROTO=tcp, …_PORT=80, …_ADDR=10.0.0.1
var (
	serviceHost = regexp.MustCompile(`^IMCTL_([A-Z0-9_]+_)?(SERVICE_HOST|PORT_[0-9]+_(TCP|UDP|SCTP)_ADDR)$`)
	servicePort = regexp.MustCompile(`^IMCTL_([A-Z0-9_]+_)?(SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)_PORT)$`)
	serviceURL  = regexp.MustCompile(`^IMCTL_([A-Z0-9_]+_)?PORT(_[0-9]+_(TCP|UDP|SCTP))?$`)
	serviceKind = regexp.MustCompile(`^IMCTL_([A-Z0-9_]+_)?PORT_[0-9]+_(TCP|UDP|SCTP)_PROTO$`)

	protocolURL  = regexp.MustCompile(`^(tcp|udp|sctp)://.+:[0-9]+$`)
	protocolName = regexp.MustCompile(`^(tcp|udp|sctp)$`)
)

// ofKubernetes reports whether Kubernetes has set a variable for a service. Its value must have the form that Kubernetes
// gives it, so that IMCTL_PORT=8080 is still refused as a setting that does not exist.
func ofKubernetes(name, value string) bool {
	switch {
	case serviceHost.MatchString(name):
		_, err := netip.ParseAddr(value)
		return err == nil
	case servicePort.MatchString(name):
		_, err := strconv.ParseUint(value, 10, 16)
		return err == nil
	case serviceURL.MatchString(name):
		return protocolURL.MatchString(value)
	case serviceKind.MatchString(name):
		return protocolName.MatchString(value)
	}
	return false
}
