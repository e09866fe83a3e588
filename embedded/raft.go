package embedded

import (
	"time"
	_ "unsafe" // for go:linkname

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// raftVersion is the nats-server version whose variables and method raft.go uses. After an upgrade of nats-server, check
// that server/raft.go still has them and what they mean, then set the version. TestRaftTiming fails until then.
const raftVersion = "2.15.2"

// nats-server has its raft timing in package variables: a heartbeat each second, and an election 4 to 9 s after the
// last one. Until a new leader is elected nothing can be stored, so the embedded server detects a lost leader sooner.

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

// transferRaftLeaders makes the server hand over all raft groups that it leads and not lead any more. It reports whether
// the server led one.
//
//go:linkname transferRaftLeaders github.com/nats-io/nats-server/v2/server.(*Server).transferRaftLeaders
func transferRaftLeaders(s *natsserver.Server) bool

// The raft timing of embedded clusters. A network that delays a heartbeat by more than minElection causes elections.
const (
	raftHeartbeat  = 300 * time.Millisecond
	minElection    = 1200 * time.Millisecond
	maxElection    = 2400 * time.Millisecond
	raftLostQuorum = 3 * time.Second
)

// raftTimed is true if the variables had the values of raftVersion when the program started, and were changed.
var raftTimed bool

// init changes the timing before any server runs, since the variables are read without a lock.
func init() {
	raftTimed = linkedVersion == raftVersion && natsHeartbeat == time.Second && natsMinElection == 4*time.Second &&
		natsMaxElection == 9*time.Second && natsLostQuorum == 10*time.Second && natsLostQuorumCheck == 10*time.Second
	if !raftTimed {
		return
	}
	natsHeartbeat, natsMinElection, natsMaxElection = raftHeartbeat, minElection, maxElection
	natsLostQuorum, natsLostQuorumCheck = raftLostQuorum, raftLostQuorum
}
