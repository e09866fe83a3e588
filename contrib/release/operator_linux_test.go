package main

import (
	"crypto/tls"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// operatorHost is the host name that the documents use.
const operatorHost = "im.example.org"

// TestOperator does what the documents tell a new operator, on a fresh machine: install the package, put the server
// behind nginx, invite two people who talk, back up, monitor, upgrade, and move to another machine. The commands are
// those of the documents, in the blocks that a comment names.
func TestOperator(t *testing.T) {
	onMachine(t, testOperatorInside, "nginx", "openssl", "curl", "prometheus", "promtool")
}

// operator follows the documents.
type operator struct {
	*machine
	*manager
	blocks map[string]string // of the documents, by name
	used   map[string]bool
}

// namedBlock matches a block of a document after a comment with its name.
var namedBlock = regexp.MustCompile("(?ms)^( *)<!-- test: ([a-z-]+) -->\n *```[a-z]+\n(.*?)^ *```$")

// newOperator returns an operator on a new machine with its packages.
func newOperator(t *testing.T, packages string) *operator {
	t.Helper()
	o := &operator{machine: newMachine(t, packages), blocks: make(map[string]string), used: make(map[string]bool)}
	for _, name := range []string{"running", "proxy", "monitoring", "install"} {
		text, err := os.ReadFile(filepath.Join(root, "docs", name+".md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range namedBlock.FindAllStringSubmatch(string(text), -1) {
			if o.blocks[m[2]] != "" {
				t.Fatalf("%s.md: a block named %s exists already", name, m[2])
			}
			indent := regexp.MustCompile("(?m)^" + m[1])
			o.blocks[m[2]] = strings.ReplaceAll(indent.ReplaceAllString(m[3], ""), "_amd64.deb", "_"+runtime.GOARCH+".deb")
		}
	}
	for from, to := range map[string]string{"1.deb": "imctl_1.0.0-1_", "2.deb": "imctl_1.1.0-1_"} {
		if err := o.files.Rename("mnt/"+from, "mnt/"+to+runtime.GOARCH+".deb"); err != nil {
			t.Fatal(err)
		}
	}
	o.run("rm", "-f", "/var/lib/man-db/auto-update") // the index of manual pages takes long
	o.write("/etc/hosts", "127.0.0.1 localhost "+operatorHost+"\n", 0o644)
	o.manager = o.manage()
	o.sandboxed()
	return o
}

// sandboxed checks that services cannot write where their unit does not let them.
func (o *operator) sandboxed() {
	o.t.Helper()
	o.run("mkdir", "-p", "/var/lib/probe", "/var/lib/other", "/run/probe")
	o.run("chown", "nobody:nogroup", "/var/lib/probe", "/var/lib/other")
	for dir, want := range map[string]bool{"/var/lib/probe": true, "/run/probe": true, "/tmp": true, "/var/lib/other": false, "/run": false, "/root": false} {
		o.write("/usr/lib/systemd/system/probe.service", "Type=oneshot\nUser=nobody\nGroup=nogroup\nStateDirectory=probe\nRuntimeDirectory=probe\n"+
			"ExecStart=/usr/bin/touch "+dir+"/file\n", 0o644)
		if err := o.manager.start("probe.service"); (err == nil) != want {
			o.t.Fatalf("a service writes to %s: %v", dir, err)
		}
	}
}

// block returns a block of the documents.
func (o *operator) block(name string) string {
	o.t.Helper()
	text := o.blocks[name]
	if text == "" {
		o.t.Fatalf("no document has a block named %s", name)
	}
	o.used[name] = true
	return text
}

// paste runs blocks of the documents in one shell of root, which stops at the first line that fails.
func (o *operator) paste(names ...string) string {
	o.t.Helper()
	var script strings.Builder
	for _, name := range names {
		script.WriteString(o.block(name))
	}
	begin := time.Now()
	out := o.run("bash", "-euo", "pipefail", "-c", "cd /mnt\n"+script.String())
	o.t.Logf("%s, %s:\n%s\n%s", names, time.Since(begin).Round(time.Millisecond), script.String(), out)
	return out
}

// has checks that a text has parts.
func (o *operator) has(text string, parts ...string) {
	o.t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			o.t.Errorf("no %q in %s", part, text)
		}
	}
}

// eventually waits until done returns true.
func (o *operator) eventually(what string, done func() bool) {
	o.t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			o.t.Fatalf("%s does not happen: %s", what, o.read("/run/journal"))
		}
	}
}

func testOperatorInside(t *testing.T, packages string) {
	o := newOperator(t, packages)
	o.installProxy()
	o.has(o.paste("install"), "active (running)")
	o.paste("direct")
	o.has(o.run("imctl", "check"), "/etc/imctl/config.yaml: OK")
	o.paste("nginx-host", "nginx-certificate", "nginx")
	people := newPeople(o)
	o.has(o.paste("start"), "ok")
	invite := regexp.MustCompile(`(?m)^https://` + regexp.QuoteMeta(operatorHost) + `/\S*#invite=([0-9a-f]+)$`).FindStringSubmatch(o.paste("invite"))
	if invite == nil {
		t.Fatal("the link has not the address of the proxy")
	}
	people.register(invite[1])
	people.talk("over nginx")

	o.checkBackups()
	o.checkMonitoring()
	ada := people.login("ada")
	o.has(o.paste("upgrade"), "v1.1.0", "health")
	ada.waitClosed()
	people.talk("after the upgrade")

	ada = people.login("ada")
	o.paste("move-from")
	next := newOperator(t, packages)
	next.canCopyFrom(o)
	next.paste("move-to")
	people.loginByToken(ada)
	people.talk("from another machine")
	o.run("systemctl", "stop", "nginx") // has the port 443, since the machines share a network
	next.paste("socket")
	next.checkSocket()
	o.checkLog()
	next.checkLog()
	for name := range o.blocks {
		if !o.used[name] && !next.used[name] {
			t.Errorf("the block %s of the documents was not run", name)
		}
	}
}

// canCopyFrom lets scp copy the files of the old machine that the documents copy.
func (o *operator) canCopyFrom(old *operator) {
	o.t.Helper()
	o.write("/run/old/moved.tar", old.read("/mnt/moved.tar"), 0o600)
	o.write("/run/old/etc/imctl/config.yaml", old.read("/etc/imctl/config.yaml"), 0o600)
	o.write("/usr/bin/scp", "#!/bin/sh\nexec cp \"/run/old/${1#old:}\" \"$2\"\n", 0o755)
}

// installProxy makes nginx and Prometheus run, as their packages do.
func (o *operator) installProxy() {
	o.t.Helper()
	for name, command := range map[string]string{"nginx": `nginx -g "daemon off;"`,
		"prometheus": "prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/run/prometheus"} {
		o.write("/usr/local/bin/"+name+"-service", "#!/bin/sh\nexec "+command+"\n", 0o755)
		o.write("/usr/lib/systemd/system/"+name+".service", "[Service]\nExecStart=/usr/local/bin/"+name+"-service\n", 0o644)
	}
	o.run("systemctl", "start", "nginx")
	o.eventually("the start of nginx", func() bool { _, err := o.files.Stat("run/nginx.pid"); return err == nil })
}

// checkBackups: the server and the timer make backups, which belong to the user of the service.
func (o *operator) checkBackups() {
	o.t.Helper()
	made := func() []string {
		found, err := filepath.Glob(filepath.Join(o.root, "var/backups/imctl/imctl-*.tar"))
		if err != nil {
			o.t.Fatal(err)
		}
		for i, name := range found {
			found[i] = strings.TrimPrefix(name, o.root)
		}
		return found
	}
	o.eventually("a backup of the server", func() bool { return len(made()) == 1 })
	check := func() {
		o.want("backup", o.owner(made()[0]), "600 imctl:imctl")
		o.has(o.run("imctl", "restore", "--verify", made()[0]), "accounts")
		o.run("rm", made()[0])
	}
	check()
	o.paste("backups")
	if len(made()) != 1 {
		o.t.Fatalf("the timer has made the backups %q", made())
	}
	check()
}

// checkMonitoring: the commands find no fault, and Prometheus has the metrics and the rules.
func (o *operator) checkMonitoring() {
	o.t.Helper()
	o.paste("monitoring")
	o.write("/etc/prometheus/prometheus.yml", "global: {scrape_interval: 1s}\n"+o.block("prometheus-config"), 0o644)
	o.write("/etc/prometheus/imctl-alerts.yml", "groups: []\n", 0o644)
	o.run("systemctl", "start", "prometheus")
	ask := func(what string) string {
		text, err := o.get(o.t.Context(), "http://127.0.0.1:9090/"+what)
		if err != nil {
			return err.Error()
		}
		return text
	}
	o.eventually("the start of Prometheus", func() bool { return strings.Contains(ask("-/ready"), "Ready") })
	o.has(o.paste("prometheus"), "SUCCESS")
	o.eventually("a scrape", func() bool {
		return strings.Contains(ask("api/v1/query?query="+url.QueryEscape(`imctl_ready{job="imctl"}==1`)), `"imctl_ready"`)
	})
	o.eventually("the alert rules", func() bool {
		rules := ask("api/v1/rules")
		return strings.Contains(rules, "ImctlBackupTooOld") && !strings.Contains(rules, `"health":"unknown"`) && !strings.Contains(rules, `"health":"err"`)
	})
	if alerts := ask("api/v1/alerts"); strings.Contains(alerts, `"state":"firing"`) {
		o.t.Errorf("alerts: %s", alerts)
	}
	o.run("systemctl", "stop", "prometheus")
}

// checkSocket: the service has taken the socket of its socket unit, with TLS.
func (o *operator) checkSocket() {
	o.t.Helper()
	c, err := tls.Dial("tcp", "127.0.0.1:443", &tls.Config{InsecureSkipVerify: true}) // a self-signed certificate
	if err != nil {
		o.t.Fatal(err)
	}
	c.Close()
	o.run("systemctl", "restart", "imctl")
	o.run("imctl", "status")
}

// expectedWarnings are those of a machine without /sys/fs/cgroup, with a small disk, and with a server that is new.
var expectedWarnings = regexp.MustCompile(`msg="(cannot read the memory limit of the cgroup|the disk has no room for dialogues.max_bytes|the backup is empty)`)

// checkLog: services log no warnings that are not expected.
func (o *operator) checkLog() {
	o.t.Helper()
	for line := range strings.Lines(o.read("/run/journal")) {
		if (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) && !expectedWarnings.MatchString(line) {
			o.t.Errorf("the log has %s", line)
		}
	}
}
