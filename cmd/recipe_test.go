//go:build unix

package cmd

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// loopbackAddress matches the addresses in a recipe. A test replaces each of them by a free one.
var loopbackAddress = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

// runRecipe pastes the shell blocks of a section of docs/integration.md in a copy of the repository, after those of its
// first section, and returns what they print. It fails if a line fails. programs are what the recipe needs besides Go
// and curl. Only the ports are others, so a recipe names each port that it uses. The home directory has the binary
// that the first section builds, so that Go links it once for all recipes.
func runRecipe(t *testing.T, title string, programs ...string) string {
	t.Helper()
	for _, program := range append(programs, "bash", "curl") {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	page, err := os.ReadFile("../docs/integration.md")
	if err != nil {
		t.Fatal(err)
	}
	script := sectionBlocks(t, string(page), "Before you begin") + sectionBlocks(t, string(page), title)
	ports := make(map[string]string)
	free := func(address string) string {
		if ports[address] == "" {
			ports[address] = freeAddresses(t, 1)[0]
		}
		return ports[address]
	}
	script = loopbackAddress.ReplaceAllStringFunc(script, free)
	home := t.TempDir()
	if err := checkedOut(t).binaryIn(home); err != nil {
		t.Fatal(err)
	}
	return pasteInCheckout(t, home, script, "IMCTL_LISTEN="+free("127.0.0.1:8080"), "IMCTL_OPS_LISTEN="+free("127.0.0.1:8081"), "IMCTL_NATS_LISTEN="+free("127.0.0.1:4222"))
}

// sectionBlocks returns the shell blocks of the section of a page whose title contains the text.
func sectionBlocks(t *testing.T, page, title string) string {
	t.Helper()
	for _, section := range strings.Split(page, "\n## ")[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		if !strings.Contains(heading, title) {
			continue
		}
		var script strings.Builder
		for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
			script.WriteString(block[1])
		}
		if script.Len() == 0 {
			t.Fatalf("the section %q has no shell block", heading)
		}
		return script.String()
	}
	t.Fatalf("there is no section %q", title)
	return ""
}
