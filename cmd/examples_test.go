package cmd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// build builds the program of an example.
func build(t testing.TB, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../examples/"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return program
}

// run starts a program and kills it at the end of the test.
func run(t testing.TB, env []string, name string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill(c)
		if t.Failed() {
			t.Logf("%s: %s", name, out.String())
		}
	})
	return c
}

// kill kills a program.
func kill(c *exec.Cmd) {
	if c.ProcessState == nil {
		_ = c.Process.Kill() // an error means that it has ended
		_ = c.Wait()         // it was killed
	}
}

// TestEchoBots runs the example bots, which accept a friend request and answer dialogues.
func TestEchoBots(t *testing.T) {
	t.Parallel()
	t.Run("Go", func(t *testing.T) {
		t.Parallel()
		w, s := newNATSWorld(t)
		echoes(t, w, s, build(t, "echo"))
	})
	t.Run("Go over TLS", func(t *testing.T) {
		t.Parallel()
		s := start(t, onAllAddresses)
		s.tls = trustSelfSigned(t, s.app.config.Data)
		echoes(t, newWorld(t, s), s, build(t, "echo"))
	})
	t.Run("JavaScript", func(t *testing.T) {
		t.Parallel()
		dir := npm(t, "../examples/echo-js")
		w, s := newNATSWorld(t)
		echoes(t, w, s, "node", filepath.Join(dir, "echo.mjs"))
		s = start(t, onAllAddresses)
		s.tls = trustSelfSigned(t, s.app.config.Data)
		echoes(t, newWorld(t, s), s, "node", filepath.Join(dir, "echo.mjs"))
	})
}

func echoes(t *testing.T, w *world, s *server, program string, args ...string) {
	bot, friend := w.newFriends(t)
	bot.tunnel.close(t)
	run(t, []string{"IM_CA=" + s.app.backend.ca, "IM_NATS=" + s.natsURL(), "IM_ID=" + bot.id, "IM_ACCOUNT=" + bot.account, "IM_PASSWORD=" + bot.password}, program, args...)
	eventually(t, "the bot to be online", func() bool {
		var a loginAnswer
		friend.tunnel.close(t)
		a = friend.login(t)
		return a.Friends[0].Online
	})
	talksBack(t, bot, friend)
	stranger := w.newMembers(t, 1)[0]
	stranger.call(t, "request", "to", bot.id, "note", "hello").want(t, "request", replyBody(200))
	eventually(t, "the bot to accept", func() bool { return stranger.call(t, "add", "from", bot.id, "name", "Bot").code() == 200 })
	talksBack(t, bot, stranger)
}

func talksBack(t *testing.T, bot, someone *member) {
	t.Helper()
	someone.tunnel.send(t, dialogue(`"1"`, bot.id, `"an echo, please"`))
	// The answer and the echo can arrive in any order.
	got := map[string]bool{someone.tunnel.next(t): true, someone.tunnel.next(t): true}
	if !got[replyFrame(`"1"`, 200)] || !got[dialogueFrame(`"echo-1"`, bot.id, `"an echo, please"`)] {
		t.Errorf("got %v", got)
	}
}

// TestArchiver kills and restarts the example archiver under load. Every dialogue that is answered
// 200 must be in the archive.
func TestArchiver(t *testing.T) {
	t.Parallel()
	w, s := newNATSWorld(t)
	program, dir := build(t, "archiver"), t.TempDir()
	archive, file := filepath.Join(dir, "archive.jsonl"), filepath.Join(dir, "archiver.json")
	credentials := s.attachment(t, "archiver", kv.RoleConsumer, "dialogue.>")
	text, err := json.Marshal(credentials)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	redeliverSoon(t, s, "archiver")
	const pairs, each = 4, 400
	done := make(chan map[string]bool, pairs)
	for n := range pairs {
		a, b := w.newFriends(t)
		go func() { done <- pourCounted(t, a, b, n, each) }()
	}
	answered := make(map[string]bool)
	for left := pairs; left > 0; {
		archiver := run(t, nil, program, file, archive)
		before := lines(t, archive)
		eventually(t, "the archive to grow", func() bool {
			select {
			case ids := <-done:
				left--
				for id := range ids {
					answered[id] = true
				}
			default:
			}
			return left == 0 || lines(t, archive) > before+each/4
		})
		kill(archiver)
	}
	if len(answered) == 0 {
		t.Fatal("no dialogue was answered 200")
	}
	run(t, nil, program, file, archive)
	var missing []string
	eventually(t, "the archive to be complete", func() bool {
		missing = missing[:0]
		there := archived(t, archive)
		for id := range answered {
			if !there[id] {
				missing = append(missing, id)
			}
		}
		return len(missing) == 0
	})
}

// redeliverSoon lowers the acknowledgment timeout of a consumer to a second, so that entries that a killed program has
// not acknowledged are redelivered soon.
func redeliverSoon(t testing.TB, s *server, consumer string) {
	t.Helper()
	js, err := jetstream.New(s.app.backend.nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), "IM_LOG", consumer)
	if err != nil {
		t.Fatal(err)
	}
	config := c.CachedInfo().Config
	config.AckWait = time.Second
	if _, err := js.UpdateConsumer(t.Context(), "IM_LOG", config); err != nil {
		t.Fatal(err)
	}
}

// pourCounted sends dialogues without waiting and returns the ids of those that were answered 200.
func pourCounted(t testing.TB, a, b *member, group, n int) map[string]bool {
	ids := make(map[string]bool)
	go func() {
		for i := range n {
			if a.tunnel.trySend(dialogue(fmt.Sprintf(`"%d-%d"`, group, i), b.id, `"x"`)) != nil {
				return
			}
		}
	}()
	go func() {
		for {
			if _, err := b.tunnel.tryNext(); err != nil {
				return
			}
		}
	}()
	for range n {
		text, err := a.tunnel.tryNext()
		var answer struct {
			Code int
			ID   string
		}
		if err != nil || json.Unmarshal([]byte(text), &answer) != nil {
			t.Errorf("answer %q, %v", text, err)
			return ids
		}
		if answer.Code == 200 {
			ids[answer.ID] = true
		}
	}
	return ids
}

func lines(t testing.TB, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}

// archived returns the ids in the archive. It ignores incomplete lines of a killed archiver.
func archived(t testing.TB, file string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		// The next entry follows an incomplete one in the same line.
		line := lines.Text()
		var entry struct{ ID string }
		if json.Unmarshal([]byte(line[max(strings.LastIndex(line, `{"v":`), 0):]), &entry) == nil {
			ids[entry.ID] = true
		}
	}
	return ids
}
