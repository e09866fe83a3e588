package cmd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// memoryGroup is a cgroup with a memory limit.
type memoryGroup struct {
	dir    string
	events string // file with the line oom_kill
	peak   string
}

// newMemoryGroup makes a cgroup with a limit in bytes. It skips the test where the system does not let it.
func newMemoryGroup(t *testing.T, limit int64) memoryGroup {
	t.Helper()
	g, file := memoryGroup{events: "memory.oom_control", peak: "memory.max_usage_in_bytes"}, "memory.limit_in_bytes"
	parent := "/sys/fs/cgroup/memory" // version 1
	if _, err := os.Stat(parent); err != nil {
		parent = "/sys/fs/cgroup" // version 2
		g, file = memoryGroup{events: "memory.events", peak: "memory.peak"}, "memory.max"
		if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
			t.Skipf("no cgroup can limit memory here: %v", err)
		}
	}
	dir, err := os.MkdirTemp(parent, "imctl-test-")
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("no cgroup can be made here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	g.dir = dir
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
		t.Fatal(err)
	}
	return g
}

// kills returns how many processes of the cgroup the kernel has killed.
func (g memoryGroup) kills(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir, g.events))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strings.TrimSpace(n)
		}
	}
	t.Fatalf("no line oom_kill in %s: %s", g.events, b)
	return ""
}

// buildProgram builds imctl, without the parts that only tests link.
func buildProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "imctl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", path, "./imctl").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// uncache removes the pages of a file from the cache. A cgroup is charged for the pages that its processes read first,
// as in a container with an image of its own.
func uncache(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestSmallMemory: without a setting, in a cgroup with the memory of a small container, ten people register at the same
// time, log in and talk, and the kernel kills nothing.
func TestSmallMemory(t *testing.T) {
	newMemoryGroup(t, 80<<20) // skips before the build
	program := buildProgram(t)
	for _, limit := range []int64{80 << 20, 48 << 20} {
		t.Run(fmt.Sprint(limit>>20, "MiB"), func(t *testing.T) {
			group := newMemoryGroup(t, limit)
			uncache(t, program)
			serve := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs" && unset IMCTL_PASSWORDS_MEMORY IMCTL_PASSWORDS_PASSES && exec "$@"`,
				group.dir, program, "serve", "--log.level", "debug")
			log := new(logBuffer)
			p := startCommand(t, serve, filepath.Join(t.TempDir(), "data"), log)
			w := newWorld(t, p)
			people := make([]*member, 10)
			var all sync.WaitGroup
			for i := range people {
				all.Go(func() { people[i] = w.newMember(t, i); people[i].login(t) })
			}
			all.Wait()
			if t.Failed() {
				return
			}
			for i := 0; i < len(people); i += 2 {
				a, b := people[i], people[i+1]
				a.befriend(t, b)
				for range 20 {
					if code := a.talk(t, b, "1"); code != 200 {
						t.Errorf("dialogue: %d", code)
					}
				}
			}
			if n := group.kills(t); n != "0" {
				t.Errorf("the kernel killed %s processes", n)
			}
			if peak, err := os.ReadFile(filepath.Join(group.dir, group.peak)); err == nil {
				t.Logf("peak: %s bytes", strings.TrimSpace(string(peak)))
			}
			if !strings.Contains(log.String(), "msg=\"memory limit\"") {
				t.Error("the log does not tell the memory limit")
			}
			p.sound(t)
			w.close(t)
			p.stop(t)
		})
	}
}
