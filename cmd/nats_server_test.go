package cmd

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
	_ "unsafe" // for go:linkname

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

// The raft timing of nats-server, which package embedded changes for its own clusters.

//go:linkname natsHeartbeat github.com/nats-io/nats-server/v2/server.hbInterval
var natsHeartbeat time.Duration

//go:linkname natsMinElection github.com/nats-io/nats-server/v2/server.minElectionTimeout
var natsMinElection time.Duration

//go:linkname natsMaxElection github.com/nats-io/nats-server/v2/server.maxElectionTimeout
var natsMaxElection time.Duration

//go:linkname natsLostQuorum github.com/nats-io/nats-server/v2/server.lostQuorumInterval
var natsLostQuorum time.Duration

//go:linkname natsLostQuorumCheck github.com/nats-io/nats-server/v2/server.lostQuorumCheck
var natsLostQuorumCheck time.Duration

// natsServerMain is the command nats-server, without its help.
func natsServerMain() {
	natsHeartbeat, natsMinElection, natsMaxElection = time.Second, 4*time.Second, 9*time.Second
	natsLostQuorum, natsLostQuorumCheck = 10*time.Second, 10*time.Second
	flags := flag.NewFlagSet("nats-server", flag.ExitOnError)
	o, err := natsserver.ConfigureOptions(flags, os.Args[1:], nil, nil, nil)
	if err == nil {
		var s *natsserver.Server
		if s, err = natsserver.NewServer(o); err == nil {
			s.ConfigureLogger()
			if err = natsserver.Run(s); err == nil {
				s.WaitForShutdown()
				return
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
