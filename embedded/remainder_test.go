package embedded

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A start removes a stream or a consumer whose creation or deletion was cut off, unless it must exist. Its missing
// description is then damage.
func TestDeletionCutOff(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, row := range map[string]struct {
		remove   string
		expected map[string]time.Time // nil: nothing is known
		kept     bool
	}{
		"stream":                                {usersDir + "/meta.inf", map[string]time.Time{"LOG": now}, false},
		"stream that must exist, without a sum": {usersDir + "/meta.sum", map[string]time.Time{"KV_users": now}, true},
		"stream that must exist":                {usersDir + "/meta.inf", map[string]time.Time{"KV_users": now}, true},
		"stream of which no one knows":          {usersDir + "/meta.inf", nil, true},
		"stream without both":                   {usersDir + "/meta.inf " + usersDir + "/meta.sum", map[string]time.Time{"LOG": now}, false},
		"stream without a sum":                  {usersDir + "/meta.sum", map[string]time.Time{"LOG": now}, false},
		"consumer":                              {archiveDir + "/meta.inf", map[string]time.Time{"LOG": now}, false},
		"consumer without a sum":                {archiveDir + "/meta.sum", map[string]time.Time{"LOG": now}, false},
		"consumer of a creation":                {archiveDir + "/meta.sum " + archiveDir + "/o.dat", map[string]time.Time{"LOG": now}, false},
		"consumer that must exist":              {archiveDir + "/meta.inf", map[string]time.Time{"LOG": now, "LOG/archive": now}, true},
		"consumer of which no one knows":        {archiveDir + "/meta.inf", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data")
			d := openDir(t, path)
			s, err := Start(t.Context(), Options{Dir: d, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			writeStore(t, s)
			shutdown(t, s)
			if row.expected != nil {
				if err := d.RememberStreams(EmbeddedOwner("im"), row.expected); err != nil {
					t.Fatal(err)
				}
			}
			for _, file := range strings.Fields(row.remove) {
				if err := os.Remove(filepath.Join(path, file)); err != nil {
					t.Fatal(err)
				}
			}
			log := new(logBuffer)
			s, err = Start(t.Context(), Options{Dir: d, Log: log.logger(slog.LevelInfo)})
			if row.kept {
				wantLine(t, err, ErrStoreDamaged, filepath.Base(row.remove))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer shutdown(t, s)
			js := jetStream(t, s)
			_, stream := js.Stream(t.Context(), "KV_users")
			_, consumer := js.Consumer(t.Context(), "LOG", "archive")
			if gone := errors.Is(stream, jetstream.ErrStreamNotFound); gone != strings.HasPrefix(row.remove, usersDir) {
				t.Errorf("the stream: %v", stream)
			}
			if gone := errors.Is(consumer, jetstream.ErrConsumerNotFound); gone == strings.HasPrefix(row.remove, usersDir) {
				t.Errorf("the consumer: %v", consumer)
			}
			if s.Healthy() != nil {
				t.Errorf("the server: %v", s.Healthy())
			}
		})
	}
}
