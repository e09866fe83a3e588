package cmd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReload checks that a reload requires a configuration file that exists and is not empty, if the start had one.
func TestReload(t *testing.T) {
	t.Parallel()
	const before = "log: {level: warn}\n"
	write := func(text string) func(string) error {
		return func(file string) error { return os.WriteFile(file, []byte(text), 0o600) }
	}
	for name, x := range map[string]struct {
		first string // file at the start, "" for none
		named bool   // the file is named by --config
		then  func(file string) error
		err   string // expected prefix of the error, "" for none
		level string // expected log level after the reload
	}{
		"unchanged":          {first: before, then: write(before), level: "warn"},
		"changed":            {first: before, then: write("log: {level: debug}\n"), level: "debug"},
		"removed":            {first: before, then: os.Remove, err: "config.yaml: no such file"},
		"removed, and named": {first: before, named: true, then: os.Remove, err: "config.yaml: no such file"},
		"directory":          {first: before, then: func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) }, err: "config.yaml: is a directory"},
		"emptied":            {first: before, then: write(""), err: "config.yaml: has become empty"},
		"blank":              {first: before, then: write(" \n\n"), err: "config.yaml: has become empty"},
		"only a comment":     {first: before, then: write("# defaults\n"), level: "info"},
		"still empty":        {first: "\n", then: write(""), level: "info"},
		"created":            {then: write(before), level: "warn"},
		"still missing":      {then: func(string) error { return nil }, level: "info"},
		"unreadable": {first: before, then: func(file string) error {
			if os.Geteuid() == 0 || os.PathSeparator == '\\' { // root can read any file, and Windows has no modes
				return errors.Join(os.Remove(file), os.Symlink(file, file))
			}
			return os.Chmod(file, 0)
		}, err: "config.yaml: "},
		"dangling link": {first: before, then: func(file string) error { return errors.Join(os.Remove(file), os.Symlink("nowhere", file)) }, err: "config.yaml: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "config.yaml")
			if x.first != "" {
				if err := write(x.first)(file); err != nil {
					t.Fatal(err)
				}
			}
			o := LoadOptions{Dir: dir}
			if x.named {
				o.File = "config.yaml"
			}
			var err error
			if o.Before, err = Load(o); err != nil {
				t.Fatal(err)
			}
			if err := x.then(file); err != nil {
				t.Fatal(err)
			}
			next, err := Load(o)
			if x.err == "" {
				if err != nil || next.Log.Level != x.level {
					t.Errorf("got %+v, %v, want log level %s", next, err, x.level)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), x.err) {
				t.Errorf("got error %v, want %s", err, x.err)
			}
		})
	}
}

// TestStartWithDanglingLink checks that a dangling link as the configuration file fails the start, instead of using the
// defaults.
func TestStartWithDanglingLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "config.yaml")); err != nil {
		t.Skip(err) // Windows requires a privilege for links
	}
	if _, err := Load(LoadOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "config.yaml: no such file") {
		t.Errorf("got error %v, want no such file", err)
	}
}

// TestReloadOnHangup makes a server reload its configuration while the file is missing, and after it exists again.
func TestReloadOnHangup(t *testing.T) {
	t.Parallel()
	const settings = "listen: 127.0.0.1:0\nops: {listen: ''}\nnats: {listen: '', sync: 1m}\n"
	dir := writeConfig(t, settings)
	file := filepath.Join(dir, "config.yaml")
	hangups, log, out := make(chan os.Signal), new(logBuffer), new(logBuffer)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, &Env{In: strings.NewReader(""), Out: out, Err: log, Dir: dir, Hangup: hangups}, []string{"serve"})
	}()
	defer func() {
		stop()
		if code := <-ended; code != exitDone {
			t.Errorf("exit code %d: %s", code, log)
		}
	}()
	eventually(t, "the server is ready", func() bool { return strings.Contains(out.String(), "imctl is ready") })
	hangup := func(want string) {
		t.Helper()
		hangups <- os.Interrupt
		eventually(t, want, func() bool { return strings.Contains(log.String(), want) })
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	hangup(`level=ERROR msg="configuration reload rejected" err="config.yaml: no such file or directory"`)
	if strings.Contains(log.String(), "configuration reloaded") {
		t.Errorf("the server uses the defaults: %s", log)
	}
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	hangup(`msg="configuration reloaded"`)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	hangups <- os.Interrupt
	eventually(t, "the second error", func() bool { return strings.Count(log.String(), "no such file or directory") == 2 })
}
