//go:build unix

package cmd

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// natsProcesses are the processes of a NATS cluster that is configured with the output of imctl nats config.
type natsProcesses struct {
	url   string // of all nodes, with the user of the bridge
	nodes map[string]*natsProcess
}

type natsProcess struct {
	name, file string
	server     string // the path of nats-server
	client     string // address of the listener for clients
	monitor    string
	cmd        *exec.Cmd
	over       chan error
}

// startNATSProcesses starts a cluster of three NATS servers, which are killed at the end of the test.
func startNATSProcesses(t testing.TB) *natsProcesses {
	t.Helper()
	dir := t.TempDir()
	said := command(t, dir, "", "nats", "config")
	if said.code != exitDone {
		t.Fatalf("nats config: %s", said.err)
	}
	if err := os.WriteFile(filepath.Join(dir, "imctl.conf"), []byte(said.out), 0o600); err != nil {
		t.Fatal(err)
	}
	server := natsServerCommand(t)
	const n = 3
	ports := freeAddresses(t, 3*n)
	clients, routes, monitors := ports[:n], ports[n:2*n], ports[2*n:]
	c := &natsProcesses{nodes: make(map[string]*natsProcess)}
	printed := firstGroup(said.err, `url: (\S+)`)
	var urls []string
	for i := range n {
		name := fmt.Sprint("n", i)
		text := fmt.Sprintf("include \"imctl.conf\"\nserver_name: %s\nlisten: %q\nhttp: %q\nlame_duck_duration: 30s\njetstream {store_dir: %q, max_file: 1TB}\n"+
			"cluster {name: c, listen: %q, routes: [nats-route://%s]}\n", name, clients[i], monitors[i], filepath.Join(dir, name), routes[i], strings.Join(routes, ", nats-route://"))
		p := &natsProcess{name: name, server: server, file: filepath.Join(dir, name+".conf"), client: clients[i], monitor: monitors[i]}
		if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.start(t)
		t.Cleanup(p.kill)
		c.nodes[name] = p
		_, port, _ := strings.Cut(clients[i], ":")
		urls = append(urls, strings.Replace(strings.Replace(printed, ":4222", ":"+port, 1), "localhost", "127.0.0.1", 1))
	}
	c.url = strings.Join(urls, ",")
	for _, p := range c.nodes {
		p.ready(t)
	}
	return c
}

func (p *natsProcess) start(t testing.TB) {
	t.Helper()
	p.cmd, p.over = exec.Command(p.server, "-c", p.file), make(chan error, 1)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, over := p.cmd, p.over
	go func() { over <- cmd.Wait() }()
}

// ready waits until the server and its streams are healthy.
func (p *natsProcess) ready(t testing.TB) {
	t.Helper()
	eventually(t, "NATS server "+p.name, func() bool {
		_, status, err := fetch("http://" + p.monitor + "/healthz")
		return err == nil && status == http.StatusOK
	})
}

func (p *natsProcess) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (p *natsProcess) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	p.over <- <-p.over
}

// freeAddresses returns loopback addresses whose ports were free.
func freeAddresses(t testing.TB, n int) (all []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all
}
