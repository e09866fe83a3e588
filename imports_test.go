// Package imctl_test checks what holds for the repository as a whole.
package imctl_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows say which packages of ours a package may import; a name that ends in /... means those below it too.
// A new package needs a line here.
var arrows = map[string][]string{
	"cmd/imctl": {"cmd"},
	"cmd":       {"bridge/...", "kv", "embedded", "embedded/privatefile", "cmd/bench"},
	"cmd/bench": {"bridge/admin", "bridge/wire", "kv", "kv/batch"},

	"bridge":          {"kv", "bridge/..."},
	bridgetest:        {"kv", "embedded", "bridge/..."},
	natstest:          nil,
	"bridge/admin":    {"kv", "bridge/audit", "bridge/cluster", "bridge/identity", "bridge/im", "bridge/natsauth", "bridge/subject", "bridge/wire", "bridge/webhook"},
	"bridge/api":      {"kv", "bridge/talk", "bridge/answer", "bridge/audit", "bridge/delivery", "bridge/im", "bridge/governor", "bridge/mailer", "bridge/natsutil", "bridge/origin", "bridge/picture", "bridge/push", "bridge/recovery", "bridge/subject", "bridge/wire", "bridge/www"},
	"bridge/tunnel":   {"kv", "bridge/talk", "bridge/answer", "bridge/audit", "bridge/cluster", "bridge/delivery", "bridge/eventlog", "bridge/im", "bridge/governor", "bridge/origin", "bridge/recovery", "bridge/sockopt", "bridge/wire"},
	"bridge/delivery": {"kv", "bridge/hook", "bridge/talk", "bridge/cluster", "bridge/eventlog", "bridge/natsutil", "bridge/recovery", "bridge/subject", "bridge/wire"},
	"bridge/natsauth": {"kv", "bridge/audit", "bridge/cluster", "bridge/eventlog", "bridge/im", "bridge/governor", "bridge/natsutil", "bridge/recovery", "bridge/subject", "bridge/wire"},
	"bridge/gateway":  {"kv", "kv/keymutex", "bridge/answer", "bridge/audit", "bridge/cluster", "bridge/delivery", "bridge/im", "bridge/governor", "bridge/natsutil", "bridge/recovery", "bridge/subject", "bridge/wire"},
	"bridge/hook":     {"kv", "bridge/subject", "bridge/wire"},
	"bridge/listener": {"bridge/natsutil", "bridge/subject"},
	"bridge/mailer":   {"kv", "bridge/im", "bridge/recovery"},
	"bridge/talk":     {"kv", "kv/batch", "bridge/natsutil", "bridge/recovery", "bridge/subject", "bridge/wire"},
	"bridge/audit":    {"kv", "kv/batch", "bridge/natsutil", "bridge/recovery", "bridge/subject"},
	"bridge/answer":   {"kv", "bridge/im", "bridge/governor", "bridge/wire"},
	"bridge/picture":  nil,
	"bridge/identity": {"kv", "bridge/subject"},
	"bridge/oidc":     {"kv", "bridge/answer", "bridge/governor", "bridge/im", "bridge/wire"},
	oidctest:          nil,
	"bridge/im":       {"kv", "kv/keymutex", "bridge/identity", "bridge/cluster", "bridge/eventlog", "bridge/picture", "bridge/talk", "bridge/wire", "bridge/hook"},
	"bridge/eventlog": {"kv", "kv/batch", "bridge/natsutil", "bridge/recovery", "bridge/subject"},
	"bridge/cluster":  {"kv", "bridge/governor", "bridge/recovery", "bridge/subject"},
	"bridge/certs":    {"embedded/privatefile"},
	"bridge/client":   {"bridge/wire"},
	"bridge/governor": {"bridge/proxy"},
	"bridge/origin":   {"bridge/governor", "bridge/proxy"},
	"bridge/proxy":    nil,
	"bridge/natsutil": {"bridge/subject"},
	"bridge/natslink": {"bridge/sockopt"},
	"bridge/sockopt":  nil,
	"bridge/push":     {"kv", "bridge/outbound", "bridge/recovery"},
	"bridge/outbound": nil,
	"bridge/webhook":  {"kv", "bridge/audit", "bridge/eventlog", "bridge/natsutil", "bridge/outbound", "bridge/recovery", "bridge/subject"},
	pushtest:          {"kv"},
	"bridge/recovery": nil,
	"bridge/subject":  nil,
	"bridge/wire":     nil,
	"bridge/www":      nil,

	"embedded":               {"embedded/privatefile"},
	"embedded/privatefile":   nil,
	"examples/archiver":      nil,
	"examples/echo":          {"bridge/client", "bridge/wire"},
	"examples/oidc-provider": {oidctest},
	"kv":                     {"kv/...", "bridge/natsutil", "bridge/subject"},
	"kv/batch":               nil,
	"kv/keymutex":            nil,
	"examples/incoming":      nil,
	"examples/metrics":       nil,
	"examples/gateway":       nil,

	"examples/gateway/homeserver": nil,
	"examples/pushgateway":        nil,
	"examples/pushgateway/fake":   nil,
	"examples/moderator":          nil,
}

const module = "imctl"

// Only tests, and bridgetest, import these packages.
const (
	bridgetest = "bridge/bridgetest"
	natstest   = "bridge/natstest"
	pushtest   = "bridge/push/pushtest"
	oidctest   = "bridge/oidc/oidctest" // and the provider for trying out
)

func TestImportsFollowTheArrows(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if name != "." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || isModule(name)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		checkFile(t, filepath.ToSlash(name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Error("no source file was found")
	}
}

// isModule reports whether the directory is a Go module of its own.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func checkFile(t *testing.T, name string) {
	t.Helper()
	folder := path.Dir(name)
	allowed, known := arrows[folder]
	if !known {
		t.Errorf("%s: there is no arrow for the package %s", name, folder)
		return
	}
	f, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(name), nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, i := range f.Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ours, ok := strings.CutPrefix(imported, module+"/")
		if (ours == bridgetest || ours == natstest || ours == pushtest) && folder != bridgetest {
			t.Errorf("%s imports %s, which only tests may", name, ours)
		}
		if ok && !slices.ContainsFunc(allowed, func(arrow string) bool { return covers(arrow, ours) }) {
			t.Errorf("%s imports %s, which %s may not", name, ours, folder)
		}
	}
}

func covers(arrow, imported string) bool {
	if tree, ok := strings.CutSuffix(arrow, "/..."); ok {
		return imported == tree || strings.HasPrefix(imported, tree+"/")
	}
	return imported == arrow
}

func TestArrowsCover(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		arrow, imported string
		want            bool
	}{
		{"kv", "kv", true}, {"kv", "kv/x", false}, {"kv", "kvx", false},
		{"bridge/...", "bridge", true}, {"bridge/...", "bridge/wire", true}, {"bridge/...", "bridgehead", false},
	} {
		if got := covers(c.arrow, c.imported); got != c.want {
			t.Errorf("covers(%q, %q) = %t", c.arrow, c.imported, got)
		}
	}
}
