package cmd

import (
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"imctl/bridge/cluster"
	"imctl/bridge/natstest"
	"imctl/embedded"
	"imctl/kv"
)

// examined returns a doctor of a healthy machine with its findings. change can change both.
func examined(t *testing.T, c *Config, change ...func(*doctor)) *doctor {
	t.Helper()
	d := &doctor{env: &Env{Dir: t.TempDir()}, machine: thisMachine(), config: c, now: time.Now()}
	d.machine.clock = func() (bool, bool) { return true, true }
	d.machine.disk = func(string) (embedded.DiskState, error) {
		return embedded.DiskState{FreeBytes: 80 << 30, TotalBytes: 100 << 30, FreeFiles: 900, TotalFiles: 1000}, nil
	}
	d.machine.limits = func(int) systemLimits { return systemLimits{descriptors: 65536, backlog: 4096} }
	for _, f := range change {
		f(d)
	}
	d.run(t.Context(), nil)
	return d
}

// of returns the findings of a check that are not ok.
func (d *doctor) of(check string) (bad []finding) {
	for _, f := range d.found {
		if f.Check == check && f.Level != levelOK {
			bad = append(bad, f)
		}
	}
	return bad
}

// want checks that a check has one bad finding, of that level and with these texts, and returns it.
func (d *doctor) want(t *testing.T, check, level string, texts ...string) finding {
	t.Helper()
	bad := d.of(check)
	if len(bad) != 1 || bad[0].Level != level {
		t.Fatalf("%s: got %v, want one finding of level %s", check, bad, level)
	}
	for _, text := range texts {
		if !strings.Contains(bad[0].String(), text) {
			t.Errorf("no %q in: %s", text, bad[0])
		}
	}
	return bad[0]
}

// healthy checks that a check has only findings that are ok, and at least one.
func (d *doctor) healthy(t *testing.T, checks ...string) {
	t.Helper()
	for _, check := range checks {
		if bad := d.of(check); len(bad) > 0 || !slices.ContainsFunc(d.found, func(f finding) bool { return f.Check == check }) {
			t.Errorf("%s is not ok: %v", check, bad)
		}
	}
}

// apply runs the remedy of a finding as an operator does.
func apply(t *testing.T, f finding) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "sh", "-ec", f.Remedy).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", f.Remedy, err, out)
	}
}

// usedData returns a data directory that a server has used.
func usedData(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "jetstream"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mode", "jetstream/1.blk"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("standalone\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func stoppedConfig(t *testing.T) *Config {
	c := testConfig(t)
	c.Data = usedData(t)
	return c
}

// TestDoctorServer examines a running server, and the same one when it is stopped.
func TestDoctorServer(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	answer := command(t, dir, "", "doctor")
	for _, want := range []string{"ok    config ", "ok    server      running as process ", "ok    nodes       1 node\n", "ok    streams     ", "ok    version "} {
		if !strings.Contains(answer.out, want) {
			t.Errorf("no %q in: %s", want, answer.out)
		}
	}
	config := *s.app.config
	examined(t, &config).healthy(t, "config", "data", "server", "nodes", "streams", "proxies", "ports", "version", "disk", "clock", "limits")
	for line := range strings.Lines(command(t, dir, "", "doctor", "-o", "json").out) {
		if f := fromJSON[finding](t, line); f.Check == "" || f.Text == "" || f.Level != levelOK && f.Remedy == "" && f.Check != "clock" {
			t.Errorf("finding %s", line)
		}
	}
	t.Run("a stream is lost", func(t *testing.T) {
		js, err := s.app.backend.nc.JetStream()
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream("IM_AUDIT"); err != nil {
			t.Fatal(err)
		}
		examined(t, &config).want(t, "streams", levelFail, "IM_AUDIT: missing", "imctl restore FILE")
	})
	s.mayLog = []string{"audit"}
	s.close(t)
	before := filesOf(t, config.Data)
	stopped := examined(t, &config)
	stopped.want(t, "server", levelWarn, "no server is running", "imctl serve")
	stopped.healthy(t, "config", "data", "ports")
	if after := filesOf(t, config.Data); after != before {
		t.Errorf("doctor has changed the data directory:\n%s\nwas:\n%s", after, before)
	}
}

// filesOf describes all files of a directory.
func filesOf(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		fmt.Fprintln(&all, path, info.Mode(), info.Size(), info.ModTime())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestDoctorConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("data: data\nlisten: nowhere\n")
	answer := command(t, dir, "", "doctor")
	if answer.code != exitFailed || !strings.HasPrefix(answer.out, "fail  config      config.yaml:2: listen: must be host:port") ||
		!strings.Contains(answer.out, "-> correct config.yaml:2, then run imctl check\n") || strings.Count(answer.out, "\n") != 1 || answer.err != "imctl: 1 check failed\n" {
		t.Errorf("a mistake: %+v", answer)
	}
	write("data: data\nlisten: 127.0.0.1:0\nops: {listen: 127.0.0.1:0}\nnats: {listen: 127.0.0.1:0}\n")
	if answer := command(t, dir, "", "doctor"); answer.code != exitDone || !strings.HasPrefix(answer.out, "ok    config ") {
		t.Errorf("without it: %+v", answer)
	}
	command(t, dir, "", "doctor", "more").want(t, exitUse, `unexpected argument "more"`)
}

func TestDoctorData(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes")
	}
	c := stoppedConfig(t)
	examined(t, c).healthy(t, "data")
	if err := os.Chmod(c.Data, 0o755); err != nil {
		t.Fatal(err)
	}
	apply(t, examined(t, c).want(t, "data", levelFail, "mode 0755"))
	examined(t, c).healthy(t, "data")
	for kind, level := range map[string]string{"nfs": levelWarn, "tmpfs": levelWarn} {
		examined(t, c, func(d *doctor) { d.machine.fileSystem = func(string) (string, error) { return kind, nil } }).want(t, "data", level, kind, "move the directory")
	}
	t.Run("another directory", func(t *testing.T) {
		c := testConfig(t)
		c.Data = "/etc"
		f := examined(t, c).want(t, "data", levelFail, "no server has run there", "--data")
		if strings.Contains(f.Remedy, "chown") || strings.Contains(f.Remedy, "chmod") {
			t.Errorf("a remedy that harms: %s", f)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		examined(t, testConfig(t)).want(t, "data", levelWarn, "does not exist", "start the server")
	})
	t.Run("files of another user", func(t *testing.T) {
		if os.Getuid() != 0 || runtime.GOOS != "linux" {
			t.Skip("needs root on Linux")
		}
		if err := os.Chown(filepath.Join(c.Data, "jetstream", "1.blk"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		apply(t, examined(t, c).want(t, "data", levelFail, "1 file does not belong to root", "1.blk", "chown -R root "))
		examined(t, c).healthy(t, "data")
	})
}

// TestDoctorSystem has each figure of the system at a bad value.
func TestDoctorSystem(t *testing.T) {
	t.Parallel()
	c := stoppedConfig(t)
	examined(t, c).healthy(t, "disk", "clock", "limits")
	disk := func(s embedded.DiskState) func(*doctor) {
		return func(d *doctor) { d.machine.disk = func(string) (embedded.DiskState, error) { return s, nil } }
	}
	limits := func(l systemLimits) func(*doctor) {
		return func(d *doctor) { d.machine.limits = func(int) systemLimits { return l } }
	}
	for _, x := range []struct {
		change       func(*doctor)
		check, level string
		texts        []string
	}{
		{disk(embedded.DiskState{FreeBytes: 8 << 20, TotalBytes: 1 << 30}), "disk", levelFail, []string{"8 MiB of 1 GiB free", "read-only", "du -xh"}},
		{disk(embedded.DiskState{FreeBytes: 90 << 20, TotalBytes: 1 << 30}), "disk", levelWarn, []string{"8 %", "du -xh"}},
		{disk(embedded.DiskState{FreeBytes: 1 << 30, TotalBytes: 1 << 30, FreeFiles: 1, TotalFiles: 100}), "disk", levelWarn, []string{"1 of 100 inodes", "--inodes"}},
		{func(d *doctor) { d.machine.clock = func() (bool, bool) { return false, true } }, "clock", levelWarn, []string{"timedatectl set-ntp true"}},
		{limits(systemLimits{descriptors: 1024}), "limits", levelWarn, []string{"1024 open files", "LimitNOFILE=65536"}},
		{limits(systemLimits{descriptors: 65536, memory: 32 << 20}), "limits", levelWarn, []string{"32 MiB of memory", "MemoryMax=64M"}},
		{limits(systemLimits{descriptors: 65536, backlog: 128}), "limits", levelWarn, []string{"backlog of 128", "sysctl -w net.core.somaxconn=4096"}},
	} {
		examined(t, c, x.change).want(t, x.check, x.level, x.texts...)
	}
	if l := thisMachine().limits(0); l.descriptors == 0 {
		t.Errorf("the limits of this process are %+v", l)
	}
}

func TestDoctorPorts(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c := stoppedConfig(t)
	c.Listen = other.Addr().String()
	texts := []string{"listen: " + c.Listen, "in use"}
	if runtime.GOOS == "linux" {
		texts = append(texts, fmt.Sprintf("process %d", os.Getpid()), "stop that program")
	}
	examined(t, c).want(t, "ports", levelFail, texts...)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	examined(t, c).healthy(t, "ports")
	c.Ops.Listen = "192.0.2.1:9" // no address of this machine
	examined(t, c).want(t, "ports", levelFail, "ops.listen", "another address")
}

func TestDoctorBackups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	check := func() *doctor {
		d := &doctor{config: Defaults(), machine: thisMachine(), now: time.Now(), server: new(nats.Conn)}
		d.checkBackupDir(dir, day)
		return d
	}
	check().want(t, "backup", levelFail, "has no backup", "imctl backup ")
	name := filepath.Join(dir, "imctl-im-20260101T000000Z.tar.age")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, time.Time{}, time.Now().Add(-49*time.Hour)); err != nil {
		t.Fatal(err)
	}
	check().want(t, "backup", levelFail, "2 d 1 h old", "backup.every: 24h")
	if err := os.WriteFile(filepath.Join(dir, "imctl-im-20260103T000000Z.tar"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check().healthy(t, "backup")
}

// TestDoctorBackupElsewhere: another node has made the last backup, which the metrics tell.
func TestDoctorBackupElsewhere(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "imctl_ready 1\nimctl_backup_last_success_timestamp_seconds %.9e\n", float64(now.Add(-time.Hour).Unix()))
	}))
	defer ops.Close()
	d := &doctor{config: Defaults(), now: now}
	d.config.Ops.Listen = ops.Listener.Addr().String()
	if at, ok := d.lastBackup(); ok {
		t.Errorf("a backup at %s of a server that does not run", at)
	}
	d.server = new(nats.Conn)
	if at, ok := d.lastBackup(); !ok || now.Sub(at) > time.Hour+10*time.Second || now.Sub(at) < time.Hour-10*time.Second {
		t.Errorf("a backup at %s, %v", at, ok)
	}
	d.config.Ops.Listen = ""
	if _, ok := d.lastBackup(); ok {
		t.Error("a backup without metrics")
	}
}

// TestDoctorNATS examines external NATS servers.
func TestDoctorNATS(t *testing.T) {
	t.Parallel()
	attached := func(url string) *Config {
		c := stoppedConfig(t)
		c.NATS.URL = url
		return c
	}
	examined(t, attached("nats://127.0.0.1:1")).want(t, "nats", levelFail, "start it, or correct nats.url")
	ns := runNATS(t, &natsserver.Options{Host: "127.0.0.1", Port: -1, MaxPayload: 64 << 10})
	d := examined(t, attached(ns.ClientURL()))
	texts := fmt.Sprint(d.of("nats"))
	for _, want := range []string{"jetstream {}", "max_payload: 1MB"} {
		if !strings.Contains(texts, want) {
			t.Errorf("no %s in %s", want, texts)
		}
	}
	mended := natstest.Start(t, t.TempDir(), -1)
	d = examined(t, attached(mended.ClientURL()))
	d.healthy(t, "nats")
	d.want(t, "server", levelFail, "no imctl server runs", "imctl serve")
}

// TestDoctorProxies: all clients seem to have the address of a proxy that is not trusted.
func TestDoctorProxies(t *testing.T) {
	t.Parallel()
	s, _ := startWithNATSListener(t)
	w := newWorld(t, s)
	w.newFriends(t)
	config := *s.app.config
	examined(t, &config).want(t, "proxies", levelWarn, "all 2 sessions of 2 users come from 127.0.0.1", "set http.trusted_proxies: [127.0.0.1]")
	config.HTTP.TrustedProxies = []string{"127.0.0.1"}
	examined(t, &config).want(t, "proxies", levelWarn, "let the proxy set X-Forwarded-For")
}

// TestDoctorNodes: clocks, states and versions of nodes.
func TestDoctorNodes(t *testing.T) {
	t.Parallel()
	now, version := time.Now(), readBuildInfo().Version
	node := func(id, state, version string, at time.Time) cluster.NodeStatus {
		return cluster.NodeStatus{Node: kv.Node{ID: id, Host: "host", Version: version, Started: now.Add(-time.Hour)}, State: state, Load: &cluster.Load{At: at}}
	}
	check := func(nodes ...cluster.NodeStatus) *doctor {
		d := &doctor{now: now}
		d.checkNodes(nodes, now, 100*time.Millisecond)
		d.checkVersions(nodes)
		return d
	}
	check(node("a", "ok", version, now), node("b", "ok", version, now.Add(time.Second))).healthy(t, "nodes", "version")
	check(node("a", "ok", version, now), node("b", "ok", version, now.Add(time.Minute))).want(t, "clock", levelFail, "node b (host)", "timedatectl set-ntp true")
	check(node("a", "does not answer", version, now)).want(t, "nodes", levelFail, "node a: does not answer")
	check(node("a", "ok", "v1", now), node("b", "ok", version, now)).want(t, "version", levelWarn, "different versions", "v1")
	check(node("a", "ok", "v1", now)).want(t, "version", levelWarn, "the server runs v1", "systemctl restart imctl")
}

// TestDoctorPrograms: hooks without an answer and modes of auth that cannot check passwords have lines of their own.
func TestDoctorPrograms(t *testing.T) {
	t.Parallel()
	const hook, keys = "moderators do not answer the hook dialogue: x", "jwt: the keys of auth.jwt.jwks cannot be loaded: x"
	d := &doctor{config: Defaults(), now: time.Now()}
	nodes := []cluster.NodeStatus{{Node: kv.Node{ID: "a"}, State: hook, Hooks: []string{hook}, Auth: []string{"nats: no program with the role auth is connected", keys}}}
	d.checkNodes(nodes, d.now, time.Second)
	d.checkPrograms(nodes)
	d.healthy(t, "nodes")
	d.want(t, "hooks", levelFail, "node a: "+hook, "imctl attach remove NAME")
	bad := d.of("auth")
	if len(bad) != 2 || !strings.Contains(bad[0].String(), "node a: auth.modes nats: no program with the role auth is connected  -> start or mend the program with the role auth") ||
		!strings.Contains(bad[1].String(), "node a: auth.modes "+keys) || !strings.Contains(bad[1].Remedy, "auth.ca") {
		t.Errorf("auth: %v", bad)
	}

	d = &doctor{config: Defaults(), now: time.Now()}
	d.checkPrograms([]cluster.NodeStatus{{}})
	if len(d.found) > 0 {
		t.Errorf("with passwords of the server alone: %v", d.found)
	}
	d.config.Auth.Modes = []string{"nats"}
	d.checkPrograms([]cluster.NodeStatus{{}})
	d.healthy(t, "auth")
}
