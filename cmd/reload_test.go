package cmd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReload: at a reload the configuration file must still exist and must not be empty.
func TestReload(t *testing.T) {
	t.Parallel()
	const before = "log: {level: warn}\n"
	write := func(text string) func(string) error {
		return func(file string) error { return os.WriteFile(file, []byte(text), 0o600) }
	}
	for name, x := range map[string]struct {
		first string // "" for no file
		named bool   // by --config
		then  func(file string) error
		says  string // "" where it is read
		level string // then
	}{
		"as it was":          {first: before, then: write(before), level: "warn"},
		"changed":            {first: before, then: write("log: {level: debug}\n"), level: "debug"},
		"gone":               {first: before, then: os.Remove, says: "config.yaml: no such file"},
		"gone, and named":    {first: before, named: true, then: os.Remove, says: "config.yaml: no such file"},
		"a directory by now": {first: before, then: func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) }, says: "config.yaml: is a directory"},
		"empty by now":       {first: before, then: write(""), says: "config.yaml: has become empty"},
		"blank by now":       {first: before, then: write(" \n\n"), says: "config.yaml: has become empty"},
		"a comment by now":   {first: before, then: write("# as by default\n"), level: "info"},
		"empty as it was":    {first: "\n", then: write(""), level: "info"},
		"there by now":       {then: write(before), level: "warn"},
		"there never":        {then: func(string) error { return nil }, level: "info"},
		"unreadable by now": {first: before, then: func(file string) error {
			if os.Geteuid() == 0 || os.PathSeparator == '\\' { // may read everything; has no such modes
				return errors.Join(os.Remove(file), os.Symlink(file, file))
			}
			return os.Chmod(file, 0)
		}, says: "config.yaml: "},
		"a link that leads nowhere": {first: before, then: func(file string) error { return errors.Join(os.Remove(file), os.Symlink("nowhere", file)) }, says: "config.yaml: no such file"},
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
			if x.says == "" {
				if err != nil || next.Log.Level != x.level {
					t.Errorf("read as %+v, %v", next, err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), x.says) {
				t.Errorf("got %v, want %s", err, x.says)
			}
		})
	}
}

// TestStartWithDanglingLink: a configuration file that is a dangling link fails the start, instead of using the defaults.
func TestStartWithDanglingLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "config.yaml")); err != nil {
		t.Skip(err) // Windows lets few do that
	}
	if _, err := Load(LoadOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "config.yaml: no such file") {
		t.Errorf("got %v", err)
	}
}

// TestReloadOnHangup makes a server reload its configuration while the file is missing, and again when it is back.
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
	hangup := func(says string) {
		t.Helper()
		hangups <- os.Interrupt
		eventually(t, says, func() bool { return strings.Contains(log.String(), says) })
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	hangup(`level=ERROR msg="configuration reload rejected" err="config.yaml: no such file or directory"`)
	if strings.Contains(log.String(), "configuration reloaded") {
		t.Errorf("the defaults were taken: %s", log)
	}
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	hangup(`msg="configuration reloaded"`)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	hangups <- os.Interrupt
	eventually(t, "the error again", func() bool { return strings.Count(log.String(), "no such file or directory") == 2 })
}
