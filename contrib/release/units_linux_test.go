package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// maxExposure is the exposure that systemd-analyze security may find at most, of 10.
const maxExposure = 2.0

// TestUnits: systemd accepts the units, and finds the services hardened.
func TestUnits(t *testing.T) {
	t.Parallel()
	require(t, "systemd-analyze")
	dir := t.TempDir()
	units, err := filepath.Glob(filepath.Join(root, "contrib", "systemd", "*"))
	if err != nil || len(units) < 4 {
		t.Fatal(units, err)
	}
	for i, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		// The program exists, but is not imctl: verify only looks whether it can be executed.
		units[i] = filepath.Join(dir, filepath.Base(unit))
		if err := os.WriteFile(units[i], []byte(strings.ReplaceAll(string(text), "/usr/bin/imctl ", "/bin/true ")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out := said(t, "systemd-analyze", append([]string{"verify", "--man=no"}, units...)...); strings.Contains(out, "imctl") {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	exposure := regexp.MustCompile(`Overall exposure level for \S+: ([\d.]+)`)
	for _, unit := range []string{"imctl.service", "imctl-backup.service"} {
		out := said(t, "systemd-analyze", "security", "--offline=yes", "--no-pager", filepath.Join(dir, unit))
		m := exposure.FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("%s: %s", unit, out)
		}
		if n, err := strconv.ParseFloat(m[1], 64); err != nil || n > maxExposure {
			t.Errorf("%s: the exposure is %s, at most %.1f is allowed", unit, m[1], maxExposure)
		}
	}
}

// TestUnitSettings: the unit has what the server relies on, and what its packages promise.
func TestUnitSettings(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "contrib", "systemd", "imctl.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Type=notify", "User=imctl", "Group=imctl", "ExecStart=/usr/bin/imctl serve --config /etc/imctl/config.yaml",
		"ExecReload=/bin/kill -HUP $MAINPID", "StateDirectory=imctl", "RuntimeDirectory=imctl", "ProtectSystem=strict", "NoNewPrivileges=yes",
		"CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "MemoryDenyWriteExecute=yes",
		"Restart=on-failure", "RuntimeDirectoryPreserve=yes", "WatchdogSec=1min", "SystemCallFilter=@system-service"} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("imctl.service does not have %s", line)
		}
	}
}

// TestPackageScripts: the scripts of the packages are correct for a POSIX shell.
func TestPackageScripts(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		said(t, "sh", "-n", filepath.Join(root, "contrib", "package", name))
	}
}

// TestRPM: rpm reads the package, and finds its files, its configuration and its scripts.
func TestRPM(t *testing.T) {
	t.Parallel()
	dir := released(t)
	require(t, "rpm")
	found, err := filepath.Glob(filepath.Join(dir, "*.rpm"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	db := t.TempDir()
	query := func(args ...string) string {
		return said(t, "rpm", append([]string{"--dbpath", db, "-qp", "--nosignature"}, append(args, found[0])...)...)
	}
	files := query("-l")
	for _, name := range []string{"/usr/bin/imctl", "/etc/imctl/config.yaml", "/usr/lib/systemd/system/imctl.service",
		"/usr/lib/sysusers.d/imctl.conf", "/usr/share/man/man1/imctl.1.gz"} {
		if !strings.Contains(files, name+"\n") {
			t.Errorf("the package does not have %s", name)
		}
	}
	if config := query("--configfiles"); config != "/etc/imctl/config.yaml\n" {
		t.Errorf("configuration files are %q", config)
	}
	if scripts := query("--scripts"); !strings.Contains(scripts, "systemd-sysusers imctl.conf") || !strings.Contains(scripts, "Only a purge deletes data") {
		t.Errorf("scripts are %s", scripts)
	}
	if info := query("-i"); !strings.Contains(info, "Version     : 1.0.0\n") || !strings.Contains(info, "License     : Apache-2.0\n") {
		t.Errorf("description is %s", info)
	}
}
