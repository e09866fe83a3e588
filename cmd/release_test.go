//go:build unix

package cmd

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imctl/bridge"
)

// lastRelease is the last version whose nodes announce no protocol: it holds no leases and knows no
// dialogues that are delivered before they are stored.
const lastRelease = "fefde2329c877ef7941801cb2bf6760d35fbe1f4"

// buildRelease builds imctl of the last release, and returns the file. It skips the test if the history does not have
// that version.
func buildRelease(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"git", "go", "tar"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("building the last release needs %s: %v", name, err)
			}
			t.Skipf("building the last release needs %s: %v", name, err)
		}
	}
	if out, err := exec.Command("git", "-C", "..", "rev-parse", "--verify", lastRelease+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("the history does not have the last release, commit %.7s: git fetch --unshallow (%s)", lastRelease, bytes.TrimSpace(out))
	}
	dir := t.TempDir()
	source, built := filepath.Join(dir, "source"), filepath.Join(dir, "imctl")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	archive := exec.Command("git", "-C", "..", "archive", lastRelease)
	files, err := archive.Output()
	if err != nil {
		t.Fatalf("git archive: %v", err)
	}
	extract := exec.Command("tar", "-x", "-C", source)
	extract.Stdin = bytes.NewReader(files)
	if out, err := extract.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	compile := exec.Command("go", "build", "-buildvcs=false", "-o", built, "./cmd/imctl")
	compile.Dir = source
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("build of the last release: %v: %s", err, out)
	}
	return built
}

// site is a deployment of processes, of which some may be of the last release, and which a test replaces.
type site struct {
	nodes []*process
	log   logBuffer // of all processes
}

// unknownToRelease returns the arguments of env(1) that remove the variables of noRates that the last release does not
// know: it refuses to start with them.
func unknownToRelease(t testing.TB, program string) (args []string) {
	t.Helper()
	known, err := os.ReadFile(filepath.Join(filepath.Dir(program), "source", "cmd", "settings.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Defaults().settings() {
		if _, rate := s.value.(*Rate); rate && !bytes.Contains(known, []byte(strconv.Quote(s.key))) {
			args = append(args, "-u", EnvName(s.key))
		}
	}
	return args
}

// start starts a program in place of a node.
func (s *site) start(t testing.TB, i int, program, data string, env ...string) {
	t.Helper()
	args := []string{program, "serve", "--log.level", "debug"}
	if program != "imctl" {
		args = slices.Concat([]string{"env"}, unknownToRelease(t, program), args)
	}
	s.nodes[i] = startCommand(t, exec.Command(args[0], args[1:]...), data, &s.log, env...)
}

func (s *site) base(n int) string          { return s.nodes[n%len(s.nodes)].url }
func (s *site) trust() *tls.Config         { return nil }
func (s *site) services() *bridge.Services { return nil } // the servers are other processes
func (s *site) output(t testing.TB) string {
	all := s.log.String()
	for _, p := range s.nodes {
		all += httpBody(t, p.ops+"/metrics")
	}
	return all
}

// runProgram runs a command of a program, and returns its output.
func runProgram(t testing.TB, program string, args ...string) string {
	t.Helper()
	c := exec.Command(program, args...)
	c.Dir = t.TempDir()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v: %s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestLastRelease: nodes of the last release and of this version serve one installation together, and each can go on with
// what the other has stored.
func TestLastRelease(t *testing.T) {
	t.Parallel()
	old := buildRelease(t)
	t.Run("beside it on one NATS server", func(t *testing.T) {
		t.Parallel()
		testBeside(t, old, startExternalNATS(t).url, 1)
	})
	t.Run("beside it on three NATS servers", func(t *testing.T) {
		t.Parallel()
		testBeside(t, old, startNATSProcesses(t).url, 3)
	})
	t.Run("upgrade and downgrade", func(t *testing.T) {
		t.Parallel()
		testUpgrade(t, old)
	})
}

// versionOf returns the name of a program in messages.
func versionOf(program string) string {
	if program == "imctl" {
		return "this version"
	}
	return "the last release"
}

// testBeside runs a node of the last release beside one of this version, has people talk, kills each of them, and
// replaces each by the other.
func testBeside(t *testing.T, old, url string, replicas int) {
	dir := t.TempDir()
	env := []string{"IMCTL_NATS_URL=" + url, fmt.Sprint("IMCTL_NATS_REPLICAS=", replicas),
		"IMCTL_DIALOGUES_MAX_BYTES=64MiB", "IMCTL_NATS_LOG_MAX_BYTES=64MiB"} // of a disk that tests share
	s := &site{nodes: make([]*process, 2)}
	logOnFailure(t, &s.log)
	programs := []string{old, "imctl"}
	start := func(i int) {
		t.Helper()
		s.start(t, i, programs[i], filepath.Join(dir, fmt.Sprint("n", i)), env...)
	}
	start(0)
	start(1)
	w := newWorld(t, s)
	m := mixedWorld{w, url}
	m.together(t)
	const off, on = "nodes of an older version are running", "all nodes speak the protocol of this version"
	eventually(t, off, func() bool { return strings.Contains(s.log.String(), off) })
	if replicas == 1 { // in a cluster the node on the nearest server always answers, and the last release tells no protocols
		eventually(t, "the protocols in the status", func() bool {
			return strings.Contains(command(t, dir, "", "status", "--nats", url).out, "PROTOCOL")
		})
	}
	for i, program := range programs {
		s.nodes[i].kill(t)
		m.survivors(t, i^1, "while "+versionOf(program)+" is killed")
		start(i)
	}
	m.together(t)
	// Now the programs change places, one after the other, as in an upgrade and a downgrade.
	for i := range programs {
		s.nodes[i].stop(t)
		programs[i] = map[string]string{old: "imctl", "imctl": old}[programs[i]]
		start(i)
		if i == 0 {
			eventually(t, on, func() bool { return strings.Contains(s.log.String(), on) })
		}
		m.together(t)
	}
	w.close(t)
}
