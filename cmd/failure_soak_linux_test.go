//go:build soak

package cmd

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

func init() { failurePairs = 20 }

// TestFailuresSoak lets users chat through failures of each node in each way.
func TestFailuresSoak(t *testing.T) {
	for _, record := range []bool{true, false} {
		t.Run(fmt.Sprintf("consumer %t", record), func(t *testing.T) {
			x := startFailureRun(t, startAttachedSite(t, false), record)
			for node := range siteNodes {
				x.cause(t, killNATS(node, 10*time.Second))
			}
			for node := range siteNodes {
				x.cause(t, hangNATS(node, 20*time.Second))
			}
			x.cause(t, killNode(0, 5*time.Second))
			x.cause(t, terminateNode(1, 5*time.Second))
			x.cause(t, hangNode(2, 20*time.Second))
			x.cause(t, lameDuckNATS(0, time.Second))
			x.cause(t, terminateNATS(1, 5*time.Second))
			x.cause(t, rollNATS())
			x.finish(t)
		})
	}
}

// TestFailuresOfNetworkSoak cuts each node off the network.
func TestFailuresOfNetworkSoak(t *testing.T) {
	x := startFailureRun(t, startAttachedSite(t, true), true)
	for node := range siteNodes {
		x.cause(t, cutOff(node, 20*time.Second))
	}
	x.finish(t)
}

// rollNATS restarts the NATS servers one after the other.
func rollNATS() failureEvent {
	return failureEvent{name: "NATS rolling restart", run: func(t *testing.T, x *failureRun, mended func()) {
		for _, n := range x.site.nats {
			n.signal(t, syscall.SIGTERM)
			n.wait(t)
			n.start(t)
			mended()
			patiently(t, x.site.natsSick)
		}
	}}
}

func terminateNATS(node int, hold time.Duration) failureEvent {
	return natsEvent("NATS terminated", node, hold, func(t *testing.T, n *siteServer) { n.signal(t, syscall.SIGTERM) })
}

// terminateNode shuts a server down, and starts it again after a while.
func terminateNode(node int, hold time.Duration) failureEvent {
	return failureEvent{name: fmt.Sprint("node terminated ", node), down: []int{node}, run: func(t *testing.T, x *failureRun, mended func()) {
		x.site.node(node).stop(t)
		x.holdFor(t, hold, []int{node})
		x.site.startNode(t, node)
		mended()
	}}
}
