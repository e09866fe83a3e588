package embedded

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// runServer runs a server on a data directory in a process of its own. It stores pairs of messages in atomic batches,
// and writes a line to standard output for each acknowledged pair, until the process is killed.
func runServer(dir string) int {
	if err := storePairs(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

func storePairs(path string) error {
	ctx := context.Background()
	d, err := OpenDir(path)
	if err != nil {
		return err
	}
	s, err := Start(ctx, Options{Dir: d, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	nc, err := s.Connect("test")
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	st, err := js.CreateOrUpdateStream(ctx, crashStream)
	if err != nil {
		return err
	}
	info, err := st.Info(ctx)
	if err != nil {
		return err
	}
	fmt.Println("ready", info.State.LastSeq)
	for n := info.State.LastSeq; ; n++ {
		value := binary.LittleEndian.AppendUint64(make([]byte, n%2000), n)
		pair := []*nats.Msg{
			nats.NewMsg(fmt.Sprintf("crash.a.%d", n%97)),
			nats.NewMsg(fmt.Sprintf("crash.b.%d", n%97)),
		}
		for _, m := range pair {
			m.Data = value
		}
		if _, err := jetstreamext.PublishMsgBatch(ctx, js, pair); err != nil {
			return err
		}
		fmt.Println("stored", n, n%97)
	}
}

var crashStream = jetstream.StreamConfig{
	Name:               "CRASH",
	Subjects:           []string{"crash.>"},
	MaxMsgsPerSubject:  1,
	AllowDirect:        true,
	AllowAtomicPublish: true,
	AllowMsgTTL:        true,
}

// startProcess starts a process with runServer on a data directory and waits until it is ready. It returns the lines
// of the process. kill ends it with SIGKILL.
func startProcess(t *testing.T, dir string) (lines *bufio.Scanner, pid int, kill func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill = func() {
		if killed {
			return
		}
		killed = true
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // The error is that the process was killed.
	}
	t.Cleanup(kill)
	lines = bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "ready") {
		t.Fatalf("the process wrote %q, want ready", lines.Text())
	}
	return lines, cmd.Process.Pid, kill
}

// TestKilled: a server that is killed at any moment starts again. It has each acknowledged pair, and no half of a
// pair.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rounds := 3
	if v, err := strconv.Atoi(os.Getenv("IMCTL_TEST_KILLS")); err == nil {
		rounds = v
	}
	stored := make(map[string]uint64)
	for round := range rounds {
		lines, _, kill := startProcess(t, dir)
		for range 10 + 13*(round%50) {
			if !lines.Scan() {
				t.Fatal("the process ended before it was killed")
			}
			recordPair(t, stored, lines.Text())
		}
		kill()
		for lines.Scan() {
			recordPair(t, stored, lines.Text())
		}
	}
	s := start(t, Options{Dir: openDir(t, dir)})
	st, err := jetStream(t, s).Stream(t.Context(), crashStream.Name)
	if err != nil {
		t.Fatal(err)
	}
	for key, n := range stored {
		var pair [2]uint64
		for i, half := range []string{"a", "b"} {
			m, err := st.GetLastMsgForSubject(t.Context(), "crash."+half+"."+key)
			if err != nil {
				t.Fatalf("crash.%s.%s: %v", half, key, err)
			}
			pair[i] = binary.LittleEndian.Uint64(m.Data[len(m.Data)-8:])
		}
		if pair[0] < n || pair[0] != pair[1] {
			t.Errorf("key %s: got %d and %d, want equal numbers of at least %d", key, pair[0], pair[1], n)
		}
	}
}

// recordPair adds the pair of a line to stored, which maps a key to its last acknowledged number.
func recordPair(t *testing.T, stored map[string]uint64, line string) {
	t.Helper()
	f := strings.Fields(line)
	if len(f) != 3 || f[0] != "stored" {
		return
	}
	n, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	stored[f[2]] = n
}
