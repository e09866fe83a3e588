package cmd

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// failureEvent is a failure of a node, and its end.
type failureEvent struct {
	name string
	down []int // nodes whose users do not count
	// run causes the failure, and returns after it has ended. mended is called when it ends.
	run func(t *testing.T, x *failureRun, mended func())
}

// killNATS kills the NATS server of a node, and starts it again after a while.
func killNATS(node int, hold time.Duration) failureEvent {
	return natsEvent("NATS killed", node, hold, func(t *testing.T, n *siteServer) { n.signal(t, syscall.SIGKILL) })
}

func lameDuckNATS(node int, hold time.Duration) failureEvent {
	return natsEvent("NATS lame duck", node, hold, func(t *testing.T, n *siteServer) { n.signal(t, syscall.SIGUSR2) })
}

// natsEvent is an event in which a NATS server ends and starts again.
func natsEvent(what string, node int, hold time.Duration, end func(*testing.T, *siteServer)) failureEvent {
	return failureEvent{name: fmt.Sprint(what, " ", node), run: func(t *testing.T, x *failureRun, mended func()) {
		n := x.site.nats[node]
		t.Logf("NATS %d leads %v", node, x.site.leads(t, node))
		end(t, n)
		n.wait(t)
		x.holdFor(t, hold, nil)
		n.start(t)
		mended()
	}}
}

// hangNATS stops a NATS server for a while.
func hangNATS(node int, hold time.Duration) failureEvent {
	return failureEvent{name: fmt.Sprint("NATS hangs ", node), run: func(t *testing.T, x *failureRun, mended func()) {
		n := x.site.nats[node]
		t.Logf("NATS %d leads %v", node, x.site.leads(t, node))
		n.signal(t, syscall.SIGSTOP)
		time.Sleep(hold) // the failure lasts that long
		n.signal(t, syscall.SIGCONT)
		mended()
	}}
}

// killNode kills a server, and starts it again after a while.
func killNode(node int, hold time.Duration) failureEvent {
	return failureEvent{name: fmt.Sprint("node killed ", node), down: []int{node}, run: func(t *testing.T, x *failureRun, mended func()) {
		x.site.node(node).kill(t)
		x.holdFor(t, hold, []int{node})
		x.site.startNode(t, node)
		mended()
	}}
}

// hangNode stops a server for a while.
func hangNode(node int, hold time.Duration) failureEvent {
	return failureEvent{name: fmt.Sprint("node hangs ", node), down: []int{node}, run: func(t *testing.T, x *failureRun, mended func()) {
		p := x.site.node(node).cmd.Process
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(hold) // the failure lasts that long
		if err := p.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		mended()
	}}
}

// cutOff cuts a node with its NATS server off the network for a while.
func cutOff(node int, hold time.Duration) failureEvent {
	return failureEvent{name: fmt.Sprint("cut off ", node), down: []int{node}, run: func(t *testing.T, x *failureRun, mended func()) {
		t.Logf("NATS %d leads %v", node, x.site.leads(t, node))
		x.site.cut(t, node)
		time.Sleep(hold) // the failure lasts that long
		x.site.heal(t, node)
		mended()
	}}
}

// holdFor lets a failure last at least for a while, and until dialogues between the nodes that are not down succeed.
func (x *failureRun) holdFor(t *testing.T, hold time.Duration, down []int) {
	t.Helper()
	from := time.Now()
	time.Sleep(hold) // the failure lasts that long
	x.settle(t, from, down)
}
