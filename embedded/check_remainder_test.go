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

// TestInterruptedDeletion: a start removes a stream or a consumer whose creation or deletion was interrupted. If the
// stream or the consumer must exist, its missing description is damage.
func TestInterruptedDeletion(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, row := range map[string]struct {
		remove   string
		required map[string]time.Time // nil: not known
		damage   bool
	}{
		"stream":                             {usersDir + "/meta.inf", map[string]time.Time{"LOG": now}, false},
		"required stream without a sum":      {usersDir + "/meta.sum", map[string]time.Time{"KV_users": now}, true},
		"required stream":                    {usersDir + "/meta.inf", map[string]time.Time{"KV_users": now}, true},
		"stream, requirements not known":     {usersDir + "/meta.inf", nil, true},
		"stream without both":                {usersDir + "/meta.inf " + usersDir + "/meta.sum", map[string]time.Time{"LOG": now}, false},
		"stream without a sum":               {usersDir + "/meta.sum", map[string]time.Time{"LOG": now}, false},
		"consumer":                           {archiveDir + "/meta.inf", map[string]time.Time{"LOG": now}, false},
		"consumer without a sum":             {archiveDir + "/meta.sum", map[string]time.Time{"LOG": now}, false},
		"consumer without a sum and a state": {archiveDir + "/meta.sum " + archiveDir + "/o.dat", map[string]time.Time{"LOG": now}, false},
		"required consumer":                  {archiveDir + "/meta.inf", map[string]time.Time{"LOG": now, "LOG/archive": now}, true},
		"consumer, requirements not known":   {archiveDir + "/meta.inf", nil, true},
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
			if row.required != nil {
				if err := d.RememberStreams(EmbeddedOwner("im"), row.required); err != nil {
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
			if row.damage {
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
			if removed := errors.Is(stream, jetstream.ErrStreamNotFound); removed != strings.HasPrefix(row.remove, usersDir) {
				t.Errorf("stream KV_users: %v", stream)
			}
			if removed := errors.Is(consumer, jetstream.ErrConsumerNotFound); removed == strings.HasPrefix(row.remove, usersDir) {
				t.Errorf("consumer archive: %v", consumer)
			}
			if err := s.Healthy(); err != nil {
				t.Error(err)
			}
		})
	}
}
