package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// fail2banFilter is the shipped filter.
const fail2banFilter = "../contrib/fail2ban/filter.d/imctl.conf"

// failregexes returns the expressions of the filter as Go has them, with the address as their group, and that of the
// time, which fail2ban removes from a line first.
func failregexes(t *testing.T) (date *regexp.Regexp, all []*regexp.Regexp) {
	t.Helper()
	text, err := os.ReadFile(fail2banFilter)
	if err != nil {
		t.Fatal(err)
	}
	value := func(key string) string {
		_, rest, found := strings.Cut(string(text), "\n"+key+" = ")
		if !found {
			t.Fatalf("the filter has no %s", key)
		}
		value, _, _ := strings.Cut(rest, "\n\n")
		return value
	}
	dates := strings.NewReplacer("%%Y", `\d{4}`, "%%m", `\d\d`, "%%d", `\d\d`, "%%H", `\d\d`, "%%M", `\d\d`, "%%S", `\d\d`, "%%f", `\d{1,6}`, "%%z", `(?:Z|[+-]\d\d:\d\d)`)
	date = regexp.MustCompile(dates.Replace(strings.Fields(value("datepattern"))[0]))
	for line := range strings.Lines(value("failregex")) {
		line = strings.Replace(strings.TrimSpace(line), "%(__prefix_line)s", `(?:\S+\s+)?(?:imctl\[\d+\]:\s+)?\s*`, 1)
		all = append(all, regexp.MustCompile(strings.Replace(line, "<SUBNET>", `([0-9a-fA-F:.]+(?:/\d+)?)`, 1)))
	}
	if len(all) != 2 {
		t.Fatalf("the filter has %d expressions", len(all))
	}
	return date, all
}

// TestFail2ban: the shipped filter for fail2ban finds the address of each failed login in both formats of the log, and
// in no other line.
func TestFail2ban(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := newWorld(t, start(t, func(c *Config) {
				c.Log.Format, c.NATS.Listen, c.Data = format, "127.0.0.1:0", filepath.Join(dir, "data")
			}))
			ann := w.newMember(t, 0)
			ann.login(t)
			w.loginFrom(t, attackerAddress, ann.account, "wrong")
			w.loginFrom(t, attackerAddress, `" address=198.51.100.1`, `"address":"198.51.100.1"}`)
			if nc, err := nats.Connect(w.deployment.(*server).app.backend.server.URL(), nats.UserInfo(ann.account, "wrong")); err == nil {
				nc.Close()
				t.Fatal("NATS accepted a wrong password")
			}
			log := w.deployment.(*server).log.String()
			log += `time=2026-01-02T03:04:05.678Z level=INFO msg="login failed" address=2001:db8:1:2::/64` + "\n"
			log += `host imctl[7]: {"time":"2026-01-02T03:04:05.678901234+02:00","level":"INFO","msg":"login failed","address":"2001:db8:1:2::/64"}` + "\n"
			want := map[string]int{attackerAddress: 2, "127.0.0.1": 1, "2001:db8:1:2::/64": 2}
			date, all := failregexes(t)
			found := make(map[string]int)
			for line := range strings.Lines(log) {
				line = date.ReplaceAllString(strings.TrimSpace(line), "")
				for _, r := range all {
					if m := r.FindStringSubmatch(line); m != nil {
						found[m[1]]++
					}
				}
			}
			wantCounts(t, "the expressions", found, want)
			wantCounts(t, "fail2ban-regex", runFail2ban(t, dir, log), want)
		})
	}
}

func wantCounts(t *testing.T, what string, got, want map[string]int) {
	t.Helper()
	if got == nil {
		return
	}
	for address, n := range want {
		if got[address] != n {
			t.Errorf("%s: %s has %d failed logins, want %d", what, address, got[address], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: found %v, want %v", what, got, want)
	}
}

// runFail2ban returns the addresses that fail2ban finds itself, or nil if it is not installed.
func runFail2ban(t *testing.T, dir, log string) map[string]int {
	t.Helper()
	const common = "/etc/fail2ban/filter.d/common.conf"
	if _, err := os.Stat(common); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("fail2ban is not installed: %v (apt-get install fail2ban)", err)
		}
		t.Logf("fail2ban is not installed: only its expressions are tested (%v)", err)
		return nil
	}
	filter, err := os.ReadFile(fail2banFilter)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "log.txt")
	for name, data := range map[string][]byte{file: []byte(log), filepath.Join(dir, "imctl.conf"): []byte(strings.Replace(string(filter), "before = common.conf", "before = "+common, 1))} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "fail2ban-regex", "-o", "<ip>", file, filepath.Join(dir, "imctl.conf")).Output()
	if err != nil {
		t.Fatalf("fail2ban-regex: %v: %s", err, out)
	}
	found := make(map[string]int)
	for address := range strings.FieldsSeq(string(out)) {
		found[address]++
	}
	return found
}
