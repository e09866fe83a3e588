//go:build unix

package bridge

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/hook"
	"imctl/bridge/natstest"
)

// The environment of a test binary that is a moderator: the URL of NATS, and whether it floods.
const (
	moderatorURL   = "IMCTL_TEST_MODERATOR_URL"
	moderatorFlood = "IMCTL_TEST_MODERATOR_FLOOD"
)

// TestModeratorProcess is the process that TestModeratorDies starts: a moderator that replaces, or that floods.
func TestModeratorProcess(t *testing.T) {
	natsURL := os.Getenv(moderatorURL)
	if natsURL == "" {
		t.Skip("this is the process of another test")
	}
	nc := natstest.Connect(t, natsURL)
	rubbish := []byte(strings.Repeat("rubbish", 1000))
	_, err := nc.QueueSubscribe("im.hook.>", "moderators", func(m *nats.Msg) {
		if os.Getenv(moderatorFlood) == "" {
			_ = m.Respond([]byte(`{"action":"replace","payload":"moderated"}`))
			return
		}
		for range 500 {
			_ = m.Respond(rubbish)
			_ = nc.Publish(m.Reply[:len(m.Reply)-4]+"0000", rubbish) // the answer to another question
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("moderating")
	select {} // until the test kills the process
}

// startModerator starts this binary as a moderator, and returns its process.
func startModerator(t *testing.T, natsURL string, flood bool) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run", "^TestModeratorProcess$", "-test.v")
	c.Env = append(os.Environ(), moderatorURL+"="+natsURL)
	if flood {
		c.Env = append(c.Env, moderatorFlood+"=1")
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killModerator(c) })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "moderating" {
			return c
		}
	}
	t.Fatalf("the moderator did not start: %v", lines.Err())
	return nil
}

func killModerator(c *exec.Cmd) {
	_ = c.Process.Kill()
	_ = c.Wait() // it was killed, perhaps before
}

// TestModeratorDies: a moderator that is stopped, killed or floods keeps no user's dialogues, whatever another user
// sends.
func TestModeratorDies(t *testing.T) {
	t.Parallel()
	natsURL := natstest.Start(t, t.TempDir(), -1).ClientURL()
	n, metrics := startModerated(t, natsURL, false, hook.Options{Timeout: 100 * time.Millisecond, Pause: 50 * time.Millisecond})
	users := n.users(t, "u", 4)
	ann, bob, flooder, sink := users[0], users[1], users[2], users[3]
	n.befriend(t, ann, bob)
	n.befriend(t, flooder, sink)
	first := startModerator(t, natsURL, false)
	if _, _, err := n.services.Attachments.Add(t.Context(), "filter", "moderator"); err != nil {
		t.Fatal(err)
	}
	a, b, f := n.talker(t, ann, ""), n.talker(t, bob, ""), n.talker(t, flooder, "")
	n.talker(t, sink, "")
	next := 0
	// say returns what the friend receives. It fails unless the sender reads success.
	say := func() string {
		t.Helper()
		next++
		id := fmt.Sprintf(`"id":"a%d"`, next)
		a.say(t, fmt.Sprint("a", next), bob, "as it was")
		got := b.wants(t, id)
		a.wants(t, `"code":200`, id)
		return got
	}
	floods := func() {
		t.Helper()
		for i := range 200 {
			f.say(t, fmt.Sprint("f", i), sink, "flood")
		}
	}
	wait(t, "moderated", func() bool { return strings.Contains(say(), "moderated") })

	if err := first.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus // a process goes on for a moment after the signal
	if _, err := syscall.Wait4(first.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("stop the moderator: %v, status %v", err, status)
	}
	floods()
	if got := say(); !strings.Contains(got, "as it was") {
		t.Errorf("while the moderator is stopped: %s", got)
	}
	if counted(t, metrics, "imctl_hook_requests_total", "dialogue", "timeout") == 0 {
		t.Error("no question timed out")
	}
	if err := first.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wait(t, "moderated again", func() bool { return strings.Contains(say(), "moderated") })

	killModerator(first)
	floods()
	if got := say(); !strings.Contains(got, "as it was") {
		t.Errorf("after the moderator was killed: %s", got)
	}

	second := startModerator(t, natsURL, true)
	floods()
	said := 0
	wait(t, "20 dialogues and an invalid answer", func() bool { // on a slow machine the first ones are too late
		if got := say(); !strings.Contains(got, "as it was") {
			t.Errorf("while the moderator floods: %s", got)
		}
		said++
		return said >= 20 && counted(t, metrics, "imctl_hook_requests_total", "dialogue", "invalid") > 0
	})
	killModerator(second)
	startModerator(t, natsURL, false)
	wait(t, "moderated by another process", func() bool { return strings.Contains(say(), "moderated") })
}
