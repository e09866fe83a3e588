package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGeneratedClients: the clients that oapi-codegen and openapi-typescript generate from docs/openapi.yaml compile, and
// make calls. The package of bridge/www has what a bot needs, with types.
func TestGeneratedClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	me := w.newMembers(t, 1)[0]
	document, err := filepath.Abs("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	calls := func(t *testing.T, dir, name string, args ...string) {
		t.Helper()
		account := fresh("generated")
		got := output(t, dir, name, append(args, w.base(0), account, me.id, me.token)...)
		want := "register 200 Success\nregister 504 Account Already Exists\nfound 200 " + account + "\nprofile 200 Success\n"
		if got != want {
			t.Errorf("the client prints\n%swant\n%s", got, want)
		}
	}
	t.Run("Go", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("testdata/openapi")); err != nil {
			t.Fatal(err)
		}
		output(t, dir, "go", "tool", "oapi-codegen", "-config", "oapi-codegen.yaml", document)
		output(t, dir, "go", "build", "-o", "client", ".")
		calls(t, dir, filepath.Join(dir, "client"))
	})
	t.Run("TypeScript", func(t *testing.T) {
		t.Parallel()
		dir := npm(t, "testdata/openapi")
		output(t, dir, "node_modules/.bin/openapi-typescript", document, "-o", "schema.d.ts")
		packClient(t, dir)
		output(t, dir, "node_modules/.bin/tsc", "-p", ".")
		calls(t, dir, "node", "calls.js")
		bot, friend := w.newFriends(t)
		bot.tunnel.close(t)
		run(t, []string{"NODE_OPTIONS=--experimental-websocket"}, "node", filepath.Join(dir, "bot.js"), w.base(0), bot.account, bot.password)
		eventually(t, "the bot to be online", func() bool {
			friend.tunnel.close(t)
			a := friend.login(t)
			return a.Friends[0].Online
		})
		talksBack(t, bot, friend)
	})
}

// packClient installs the package of bridge/www in node_modules, as npm packs it.
func packClient(t *testing.T, dir string) {
	t.Helper()
	modules := filepath.Join(dir, "node_modules", "imctl-client")
	if err := os.MkdirAll(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	packed := strings.Fields(output(t, dir, "npm", "pack", "--silent", "--pack-destination", dir, filepath.Join(dir, "..", "..", "bridge", "www")))
	output(t, modules, "tar", "--extract", "--gzip", "--strip-components=1", "--file", filepath.Join(dir, packed[len(packed)-1]))
	for _, name := range []string{"v1/js/main.js", "www.go"} {
		if _, err := os.Stat(filepath.Join(modules, name)); err == nil {
			t.Errorf("the package has %s", name)
		}
	}
}

// output runs a program in a directory, and returns what it prints to stdout.
func output(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	var errors strings.Builder
	c.Stderr = &errors
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errors.String())
	}
	return string(out)
}

// TestOpenAPIGenerates checks what generators of clients need, and what the linters of OpenAPI documents refuse.
func TestOpenAPIGenerates(t *testing.T) {
	t.Parallel()
	s := readSpec(t, "openapi.yaml")
	operations := make(map[string]string)
	walk(s.doc, "", func(at string, m map[string]any) {
		// A constant without a type has no type in the client, which then cannot read it from a header.
		if _, typed := m["type"]; !typed && (m["const"] != nil || m["enum"] != nil) && !mixed(m["enum"]) {
			t.Errorf("%s has no type", at)
		}
		if pattern, _ := m["pattern"].(string); strings.Contains(pattern, `\p{`) {
			t.Errorf("%s: the pattern %q has a class that needs the flag u in JavaScript", at, pattern)
		}
		if path, method, ok := operationAt(at); ok {
			id, _ := m["operationId"].(string)
			if other := operations[id]; id == "" || other != "" {
				t.Errorf("%s has the operationId %q, as %q has", at, id, other)
			}
			operations[id] = at
			if path != "/" && strings.HasSuffix(path, "/") {
				t.Errorf("%s %s ends in a slash", method, path)
			}
		}
	})
	for id, at := range operations {
		_, answer := s.at(at + "/responses/200/content/application~1json")
		m, _ := answer.(map[string]any)
		if schema, _ := m["schema"].(map[string]any); m != nil && schema["$ref"] == nil {
			t.Errorf("the answer of %s has no name", id)
		}
	}
}

// operationAt returns the path and the method of an operation, from its place in the document.
func operationAt(at string) (path, method string, ok bool) {
	parts := strings.Split(at, "/")
	if len(parts) != 4 || parts[1] != "paths" {
		return "", "", false
	}
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[2]), parts[3], true
}

// mixed reports whether the values are of several types.
func mixed(enum any) bool {
	text, other := false, false
	values, _ := enum.([]any)
	for _, v := range values {
		_, isText := v.(string)
		text, other = text || isText, other || !isText
	}
	return text && other
}
