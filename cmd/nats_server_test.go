package cmd

import (
	"os/exec"
	"path/filepath"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// natsOptions returns the options of a NATS server with this configuration on a free port.
func natsOptions(t testing.TB, config string) *natsserver.Options {
	t.Helper()
	o := new(natsserver.Options)
	if err := o.ProcessConfigString("host: 127.0.0.1, port: -1\n" + config); err != nil {
		t.Fatal(err)
	}
	return o
}

// runNATS starts a NATS server and stops it at the end of the test.
func runNATS(t testing.TB, o *natsserver.Options) *natsserver.Server {
	t.Helper()
	o.NoSigs, o.NoLog = true, true
	ns, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(waitTimeout) {
		t.Fatal("timeout waiting for the NATS server")
	}
	return ns
}

// natsServerCommand builds the command nats-server, and returns its path. Its raft timing is its own, which package
// embedded changes for its own clusters.
func natsServerCommand(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats-server")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		t.Fatalf("build nats-server: %v: %s", err, out)
	}
	return path
}
