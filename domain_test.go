package imctl_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJetStreamDomains: one place makes handles of JetStream, and one the subjects of its API. Any other would ignore the
// setting nats.domain.
func TestJetStreamDomains(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{
		"bridge/natsutil/jetstream.go": true,
		"bridge/subject/client.go":     true,
		"embedded/accounts.go":         true, // configuration of a NATS server
		"bridge/admin/natscluster.go":  true, // the system account has no domains
	}
	err := filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "examples" || len(name) > 1 && strings.HasPrefix(e.Name(), ".")) {
			return fs.SkipDir
		}
		name = filepath.ToSlash(name)
		if e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || allowed[name] {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, banned := range []string{"jetstream.New(", ".JetStream()", `"$JS.API`} {
			if strings.Contains(string(text), banned) {
				t.Errorf("%s has %s: use natsutil.JetStream, natsutil.API or subject.API", name, banned)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
