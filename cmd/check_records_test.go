package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imctl/kv"
)

// TestCheckRecords checks the records of a directory with and without a running server.
func TestCheckRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("data: "+data+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, natsListener, func(c *Config) { c.Data = data })
	ctx, store := t.Context(), s.app.backend.store
	litter := func() {
		t.Helper()
		if _, err := store.Tokens.Issue(ctx, kv.NewID(), "session", kv.Origin{}); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Rosters.Befriend(ctx, kv.NewID(), kv.NewID()); err != nil {
			t.Fatal(err)
		}
	}
	check := func(args ...string) commandAnswer {
		t.Helper()
		return command(t, dir, "", append([]string{"check", "--data", data}, args...)...)
	}
	litter()
	for _, where := range []string{"running", "stopped"} {
		if where == "stopped" {
			litter()
			s.close(t)
		}
		dry := check("--dry-run")
		if dry.code != exitFailed || !strings.Contains(dry.err, "2 rosters without a user, 1 tokens without a user; remove them with imctl check --data") ||
			!strings.Contains(dry.out, "rosters without a user") {
			t.Errorf("%s: exit code %d, %s%s", where, dry.code, dry.out, dry.err)
		}
		a := check("-o", "json").want(t, exitDone)
		var got recordsReport
		want := recordsReport{kv.Findings{Rosters: 2, Tokens: 1}, true}
		if err := json.Unmarshal([]byte(a.out), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", where, got, err, want)
		}
		check("--dry-run").want(t, exitDone, "tokens without a user")
	}
	// The configured directory, with and without a file.
	for _, args := range [][]string{{"--data"}, {"--data=" + data}, {"config.yaml", "--data"}, {"--data", data, "config.yaml"}} {
		command(t, dir, "", append([]string{"check"}, args...)...).want(t, exitDone, "tokens without a user")
	}
	command(t, dir, "", "check", "--dry-run").want(t, exitUse, "--data")
	command(t, dir, "", "check", "--data", "config.yaml", "nowhere").want(t, exitUse, `unexpected argument "nowhere"`)
}
