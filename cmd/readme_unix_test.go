//go:build unix

package cmd

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shellBlock matches the blocks of a page that are for a shell.
var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// TestREADME pastes the shell blocks of the README, one after the other, in a copy of the repository. It fails if a line
// fails. Only the ports are others.
func TestREADME(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl", "node"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, block := range shellBlock.FindAllSubmatch(readme, -1) {
		script.Write(block[1])
	}
	addresses := freeAddresses(t, 3)
	text := strings.NewReplacer("127.0.0.1:8080", addresses[0], "127.0.0.1:8081", addresses[1]).Replace(script.String())
	out := pasteInCheckout(t, t.TempDir(), text, "IMCTL_LISTEN="+addresses[0], "IMCTL_OPS_LISTEN="+addresses[1], "IMCTL_NATS_LISTEN="+addresses[2])
	for _, want := range []string{
		"imctl is ready", `ben receives {"id":"1","from":"`, `ada receives {"code":200,`, "health ", "cleo (", "#invite=", `"payload":"How are you?"`, "archiver  consumer",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the output:\n%s", want, out)
		}
	}
	// A line that fails stops the paste, also in the middle of a pipe.
	for _, line := range []string{"no-such-program", "false | cat", "cat no-such-file"} {
		if out, err := paste(t, t.TempDir(), t.TempDir(), "echo before\n"+line+"\necho after\n"); err == nil || strings.Contains(out, "after") {
			t.Errorf("%s: %v, %s", line, err, out)
		}
	}
}

// paste runs lines in a shell that stops at the first failure, and returns its output.
func paste(t *testing.T, dir, home, lines string, env ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", lines)
	c.Dir = dir
	c.Env = append(goEnv(t), "HOME="+home, "PATH="+os.Getenv("PATH"))
	c.Env = append(c.Env, env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	// The group has the programs in the background, too.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.Cancel = end
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		return "", err
	}
	defer func() { _ = end() }() // fails if they have all ended
	err := c.Wait()
	return out.String(), err
}

// goEnv returns the variables by which the go command finds its caches, whatever the home directory is.
func goEnv(t *testing.T) []string {
	t.Helper()
	names := []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN"}
	out, err := exec.Command("go", append([]string{"env"}, names...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	values := strings.Split(string(out), "\n")
	for i, name := range names {
		names[i] = name + "=" + values[i]
	}
	return names
}
