package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{
		"0": 0, "512": 512, "512B": 512, "64KiB": 64 * KiB, "19MiB": 19 * MiB, "1GiB": GiB, "3TiB": 3 * TiB, "1024KiB": MiB,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %v, %v", text, got, err)
		}
		if again, err := ParseSize(got.String()); err != nil || again != want {
			t.Errorf("%q prints as %s, which is %v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1.5KiB", "64 KiB", "64kib", "64KB", "9223372036854775807KiB", "99999999999999999999"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %v", text, got)
		}
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{
		"0": {}, "50/s": {50, time.Second}, "60/m": {60, time.Minute}, "20/h": {20, time.Hour},
	} {
		got, err := ParseRate(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseRate(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "/s", "0/s", "-1/s", "5/", "5/d", "5/s/s", "5 /s", "1.5/s"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %v", text, got)
		}
	}
}

func TestSync(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Sync{"always": SyncAlways, "10s": Sync(10 * time.Second), "2m": Sync(2 * time.Minute)} {
		if got, err := ParseSync(text); err != nil || got != want || got.String() != text {
			t.Errorf("ParseSync(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "never", "0s", "-1s", "10"} {
		if got, err := ParseSync(text); err == nil {
			t.Errorf("ParseSync(%q) = %v", text, got)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"168h": 168 * time.Hour, "5m": 5 * time.Minute, "54s": 54 * time.Second, "1h0m5s": time.Hour + 5*time.Second,
		"1h30m": 90 * time.Minute, "100ms": 100 * time.Millisecond, "0s": 0, "10m": 10 * time.Minute, "10m10s": 610 * time.Second,
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v is printed as %s, want %s", d, got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0, "0": 0, "168h": 168 * time.Hour, "100ms": 100 * time.Millisecond,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "30", "1.5d", "-1d", "1d-2h", "1d+2h", "1dd", "12h1d", "99999999999d", "106751d2562048h"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v", text, got)
		}
	}
}

func TestSecretIsNotShown(t *testing.T) {
	t.Parallel()
	const hidden = "hunter2"
	c := Defaults()
	c.NATS.Cluster.Secret = hidden
	c.NATS.URL = "nats://user:" + hidden + "@127.0.0.1:4222,nats://" + hidden + "@127.0.0.2:4222, tls://b:4222"
	var out bytes.Buffer
	for _, s := range c.settings() {
		fmt.Fprintln(&out, s)
	}
	secret := c.NATS.Cluster.Secret
	fmt.Fprintf(&out, "%v %+v %#v %s %q\n", secret, secret, secret, secret, secret)
	fmt.Fprintf(&out, "%+v %#v\n", c.NATS.Cluster, c.NATS.Cluster)
	if err := json.NewEncoder(&out).Encode(c.NATS.Cluster); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "cluster", c.NATS.Cluster, "secret", secret)
	if strings.Contains(out.String(), hidden) {
		t.Errorf("the secret is in\n%s", &out)
	}
	if got, want := RedactURL(c.NATS.URL), "nats://xxxxx@127.0.0.1:4222,nats://xxxxx@127.0.0.2:4222,tls://b:4222"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := RedactURL("nats://" + hidden + "\x00@x"); strings.Contains(got, hidden) {
		t.Errorf("what is no URL is printed as %s", got)
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var level slog.LevelVar
	log := newLogger(&out, LogConfig{Level: "warn", Format: "json"}, &level)
	log.Info("left out")
	log.Warn("kept")
	level.Set(slog.LevelDebug)
	log.Debug("kept too")
	var words []string
	for line := range strings.Lines(out.String()) {
		var entry struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		words = append(words, entry.Msg)
	}
	if got := strings.Join(words, ","); got != "kept,kept too" {
		t.Errorf("got %s", got)
	}
	out.Reset()
	newLogger(&out, LogConfig{Level: "info", Format: "text"}, &level).Info("hello")
	if !strings.Contains(out.String(), "level=INFO msg=hello") {
		t.Errorf("got %s", &out)
	}
}

// TestKeepNone checks that a file may set the duration 0 without a unit.
func TestKeepNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("dialogues: {keep: 0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(LoadOptions{Dir: dir})
	if err != nil || c.Dialogues.Keep != 0 {
		t.Errorf("dialogues.keep is %v, %v", c.Dialogues.Keep, err)
	}
}
