package cmd

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imctl/bridge"
)

// process is a deployment of one server in a separate process, which runs imctl serve.
type process struct {
	cmd   *exec.Cmd
	url   string // of the protocol
	nats  string // of NATS clients
	ops   string // of the metrics
	log   *logBuffer
	ready chan bool  // receives whether the server has become ready
	over  chan error // receives the result of the process
	gone  bool       // over has been read
}

// startProcess starts the server on a data directory and waits until it is ready. It appends the server's log to log.
func startProcess(t testing.TB, data string, log *logBuffer, env ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command("imctl", "serve", "--log.level", "debug"), data, log, env...)
}

// startCommand is startProcess for a command that ends up as imctl serve.
func startCommand(t testing.TB, cmd *exec.Cmd, data string, log *logBuffer, env ...string) *process {
	t.Helper()
	p := launch(t, cmd, data, log, env...)
	p.awaitReady(t)
	return p
}

// launch starts a command that ends up as imctl serve, and does not wait until it is ready.
func launch(t testing.TB, cmd *exec.Cmd, data string, log *logBuffer, env ...string) *process {
	t.Helper()
	p := &process{cmd: cmd, log: log, over: make(chan error, 1), ready: make(chan bool, 1)}
	p.cmd.Dir = filepath.Dir(data)
	p.cmd.Env = append(os.Environ(), "IMCTL_DATA="+data, "IMCTL_LISTEN=127.0.0.1:0", "IMCTL_OPS_LISTEN=127.0.0.1:0", "IMCTL_NATS_LISTEN=127.0.0.1:0",
		"IMCTL_PASSWORDS_MEMORY=1MiB", "IMCTL_PASSWORDS_PASSES=1", "GORACE=atexit_sleep_ms=0",
		"IMCTL_HTTP_HOSTS="+strings.Join(rawHosts, ","))
	p.cmd.Env = slices.Concat(p.cmd.Env, noRates(), env)
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.kill(t) })
	go func() {
		said := bufio.NewScanner(out)
		p.ready <- p.readAddresses(said)
		for said.Scan() {
			fmt.Fprintln(log, said.Text())
		}
		p.over <- p.cmd.Wait()
	}()
	return p
}

// readAddresses reads the addresses that the server prints when it is ready. It returns false if the output ends.
func (p *process) readAddresses(said *bufio.Scanner) bool {
	for said.Scan() {
		switch fields := strings.Fields(said.Text()); {
		case len(fields) < 2:
		case fields[0] == "protocol":
			p.url = strings.TrimSuffix(fields[1], "/im/")
		case fields[0] == "nats":
			p.nats = fields[1]
		case fields[0] == "operations":
			p.ops = strings.TrimSuffix(fields[1], "/readyz,")
		case fields[0] == "data":
			return p.url != "" && p.ops != ""
		}
	}
	return false
}

// awaitReady waits until the server has printed its addresses. If it fails to start, its output ends.
func (p *process) awaitReady(t testing.TB) {
	t.Helper()
	select {
	case ready := <-p.ready:
		if ready {
			return
		}
	case <-time.After(waitTimeout):
	}
	t.Fatalf("the server did not become ready:\n%s", p.log)
}

// kill kills the process, unless it has ended, and waits for its end.
func (p *process) kill(t testing.TB) {
	t.Helper()
	if p.gone {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	p.wait(t)
}

// stop sends SIGTERM and checks that the process exits with 0.
func (p *process) stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(t); err != nil {
		t.Errorf("the server exited with %v", err)
	}
}

func (p *process) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-p.over:
		p.gone = true
		return err
	case <-time.After(waitTimeout):
		t.Fatal("timeout waiting for the server to exit")
		return nil
	}
}

func (p *process) base(int) string            { return p.url }
func (p *process) trust() *tls.Config         { return nil }
func (p *process) services() *bridge.Services { return nil } // the server is another process

func (p *process) output(t testing.TB) string {
	t.Helper()
	return p.log.String() + httpBody(t, p.ops+"/metrics")
}

// metric returns the value of a metric.
func (p *process) metric(name string) (float64, error) {
	body, err := tryBody(p.ops + "/metrics")
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		return 0, fmt.Errorf("no metric %s", name)
	}
	return strconv.ParseFloat(m[1], 64)
}

// sound checks that the log of the process has no errors and panics.
func (p *process) sound(t testing.TB) {
	t.Helper()
	for line := range strings.Lines(p.log.String()) {
		for _, bad := range []string{"level=ERROR", "panic", "DATA RACE", "fatal error"} {
			if strings.Contains(line, bad) {
				t.Errorf("logged: %s", line)
			}
		}
	}
}

// watch samples a metric until grown is called, which returns the maximum growth.
func (p *process) watch(t testing.TB, name string) (grown func() float64) {
	t.Helper()
	before, err := p.metric(name)
	if err != nil {
		t.Fatal(err)
	}
	most, stop, stopped := before, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			now, err := p.metric(name)
			if err != nil {
				t.Error(err)
				return
			}
			most = max(most, now)
		}
	}()
	return func() float64 { close(stop); <-stopped; return most - before }
}

// TestMemoryStaysBounded checks that a client that does not read needs no more memory than its buffer.
func TestMemoryStaysBounded(t *testing.T) {
	t.Parallel()
	for keep, most := range map[string]float64{"0": 20 << 20, "30d": 20<<20 + 7*8<<20} { // NATS holds the blocks that it wrote lately, of 8 MiB each
		t.Run("keep "+keep, func(t *testing.T) { t.Parallel(); boundMemory(t, keep, most) })
	}
}

func boundMemory(t *testing.T, keep string, most float64) {
	p := startProcess(t, filepath.Join(t.TempDir(), "data"), new(logBuffer), "IMCTL_DIALOGUES_KEEP="+keep, "GOGC=25", "IMCTL_NATS_SYNC=1m", "IMCTL_SESSIONS_WRITE_TIMEOUT=4m", "IMCTL_DIALOGUES_TIMEOUT=2s")
	w := newWorld(t, p)
	grown := p.watch(t, "go_memstats_heap_inuse_bytes")
	stalled(t, w, func(a, b *member) {
		const size, n = 60 << 10, 400 // 25 MB, of which 64 frames, or 4 MB, may wait
		codes := count(a.pour(t, b, n, `"`+strings.Repeat("x", size)+`"`))
		if codes[507] < n/2 {
			t.Errorf("answers: %v", codes)
		}
	})
	g := grown()
	t.Logf("the heap grew by %.1f MB", g/1e6)
	if g > most {
		t.Errorf("the heap grew by %.0f MB, more than the buffer", g/1e6)
	}
	w.close(t)
	p.stop(t)
	p.sound(t)
}
