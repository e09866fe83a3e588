package cmd

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigPlaces: a flag names the file, or IMCTL_CONFIG, or else it is config.yaml in the working directory, or else
// that of the machine. A reload reads the same file.
func TestConfigPlaces(t *testing.T) {
	t.Parallel()
	dir, empty := t.TempDir(), t.TempDir()
	for name, buffer := range map[string]string{"flag.yaml": "1", "variable.yaml": "2", "config.yaml": "3", "system.yaml": "4"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("sessions: {buffer: "+buffer+", in_flight: 1}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	system := filepath.Join(dir, "system.yaml")
	variable := []string{"IMCTL_CONFIG=variable.yaml"}
	for name, test := range map[string]struct {
		options LoadOptions
		file    string
		buffer  int
	}{
		"flag":               {LoadOptions{Dir: dir, File: "flag.yaml", Environ: variable, System: system}, "flag.yaml", 1},
		"variable":           {LoadOptions{Dir: dir, Environ: variable, System: system}, "variable.yaml", 2},
		"working directory":  {LoadOptions{Dir: dir, Environ: []string{"IMCTL_CONFIG="}, System: system}, "config.yaml", 3},
		"machine":            {LoadOptions{Dir: empty, System: system}, system, 4},
		"none":               {LoadOptions{Dir: empty, System: filepath.Join(empty, "missing.yaml")}, "", 64},
		"reload of machine":  {LoadOptions{Dir: dir, System: system, Before: &Config{File: system}}, system, 4},
		"reload of variable": {LoadOptions{Dir: dir, Environ: variable, Before: &Config{File: "variable.yaml"}}, "variable.yaml", 2},
	} {
		c, err := Load(test.options)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.File != test.file || c.Sessions.Buffer != test.buffer {
			t.Errorf("%s: got %q with buffer %d, want %q with %d", name, c.File, c.Sessions.Buffer, test.file, test.buffer)
		}
	}
	_, err := Load(LoadOptions{Dir: dir, Environ: []string{"IMCTL_CONFIG=missing.yaml"}})
	if mistakes, ok := errors.AsType[Mistakes](err); !ok || !strings.HasPrefix(mistakes.Error(), "missing.yaml: ") {
		t.Errorf("IMCTL_CONFIG names a missing file: got %v", err)
	}
}

// TestConfigSource: check and serve say which file they have read.
func TestConfigSource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	system := filepath.Join(dir, "system.yaml")
	check := func() string {
		var out bytes.Buffer
		env := &Env{Out: &out, Err: &out, Dir: t.TempDir(), SystemConfig: system}
		if code := Run(t.Context(), env, []string{"check"}); code != exitDone {
			t.Errorf("exit code %d: %s", code, &out)
		}
		return out.String()
	}
	if got, want := check(), "defaults (no config.yaml, no "+system+"): OK\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := os.WriteFile(system, []byte("# nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := check(), system+": OK\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s := start(t)
	for file, want := range map[string]string{"": "config      defaults (no config.yaml)\n", system: "config      " + system + "\n"} {
		var out bytes.Buffer
		s.app.config.File = file
		s.app.announce(&Env{Out: &out})
		if !strings.Contains(out.String(), want) {
			t.Errorf("serve says %s, want %s", &out, want)
		}
	}
}

// TestKubernetesVariables: the variables of a Kubernetes service named imctl are no settings. A variable of that name
// with another value, and a misspelled one, are still refused.
func TestKubernetesVariables(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{
		"IMCTL_PORT=tcp://10.0.0.1:80", "IMCTL_SERVICE_HOST=10.0.0.1", "IMCTL_SERVICE_PORT=80", "IMCTL_SERVICE_PORT_HTTP=8080",
		"IMCTL_PORT_8080_TCP=tcp://10.0.0.1:8080", "IMCTL_PORT_8080_TCP_PROTO=tcp", "IMCTL_PORT_8080_TCP_PORT=8080", "IMCTL_PORT_8080_TCP_ADDR=fd00::1",
		"IMCTL_PORT_53_UDP=udp://[fd00::1]:53", "IMCTL_NODES_SERVICE_HOST=fd00::1", "IMCTL_NODES_PORT=tcp://10.0.0.1:80", "IMCTL_OPS_PORT_8081_TCP_ADDR=10.0.0.2",
	} {
		if _, err := Load(LoadOptions{Dir: t.TempDir(), Environ: []string{variable}}); err != nil {
			t.Errorf("%s: %v", variable, err)
		}
	}
	for _, variable := range []string{
		"IMCTL_PORT=8080", "IMCTL_PORT=", "IMCTL_SERVICE_HOST=example.org", "IMCTL_SERVICE_PORT=http", "IMCTL_OPS_PORT=8081", "IMCTL_LISTN=tcp://10.0.0.1:80",
		"IMCTL_PORT_8080_TCP_PROTO=http", "IMCTL_SERVICE=10.0.0.1", "IMCTL_PORT_X_TCP=tcp://10.0.0.1:80",
	} {
		_, err := Load(LoadOptions{Dir: t.TempDir(), Environ: []string{variable}})
		if exitCode(err) != exitUse || !strings.Contains(err.Error(), "unknown variable") {
			t.Errorf("%s: got %v, want an unknown variable", variable, err)
		}
	}
	c, err := Load(LoadOptions{Dir: t.TempDir(), Environ: []string{"IMCTL_LISTEN=127.0.0.1:9", "IMCTL_PORT=tcp://10.0.0.1:80"}})
	if err != nil || c.Listen != "127.0.0.1:9" {
		t.Errorf("a setting beside a service: %v", err)
	}
}
