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

// The child runs a server and writes to it as the program would: pairs of keys in
// atomic batches. Each pair that was acknowledged is a line on its standard output.
// It goes on until it is killed.
func child(dir string) int {
	if err := writeForEver(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

func writeForEver(path string) error {
	ctx := context.Background()
	d, err := OpenDir(path)
	if err != nil {
		return err
	}
	s, err := Start(ctx, Options{Dir: d, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	nc, err := s.Connect("child")
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

// runChild starts the child on a directory and returns its lines; the stop it
// returns kills it as the system would, without a word.
func runChild(t *testing.T, dir string) (lines *bufio.Scanner, pid int, kill func()) {
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
	done := false
	kill = func() {
		if done {
			return
		}
		done = true
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // It was killed, and says so.
	}
	t.Cleanup(kill)
	lines = bufio.NewScanner(out)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "ready") {
		t.Fatalf("the child said %q", lines.Text())
	}
	return lines, cmd.Process.Pid, kill
}

// Whatever moment a server is killed at, it starts again, has all that it
// acknowledged, and nothing by halves.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rounds := 3
	if v, err := strconv.Atoi(os.Getenv("IMCTL_TEST_KILLS")); err == nil {
		rounds = v
	}
	stored := make(map[string]uint64)
	for round := range rounds {
		lines, _, kill := runChild(t, dir)
		for range 10 + 13*(round%50) {
			if !lines.Scan() {
				t.Fatal("the child ended by itself")
			}
			remember(t, stored, lines.Text())
		}
		kill()
		for lines.Scan() {
			remember(t, stored, lines.Text())
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
			t.Errorf("key %s: acknowledged %d, found %d and %d", key, n, pair[0], pair[1])
		}
	}
}

func remember(t *testing.T, stored map[string]uint64, line string) {
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
