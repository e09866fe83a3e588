package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// TestFormatVersion fails after an upgrade of nats-server, and lists what to do.
func TestFormatVersion(t *testing.T) {
	t.Parallel()
	if linkedVersion != formatVersion {
		t.Errorf(`nats-server was upgraded from %[1]s to %[2]s, so the data check is off. To turn it on again:

1. Compare the file formats, in a clone of https://github.com/nats-io/nats-server:

     git diff v%[1]s v%[2]s -- server/filestore.go server/store.go server/jetstream.go server/avl

   Each format_*.go names the functions and constants that it follows: writeStreamMeta, writeConsumerMeta,
   encodeConsumerState, writeMsgRecordLocked, rebuildStateFromBufLocked, _writeFullState, recoverFullState.
2. Where a format has changed, change its format_*.go, so that it reads the old and the new format.
3. Set this line, at %[3]s:

     const formatVersion = "%[2]s"

4. Run the tests of the data check and of killed servers:

     go test ./embedded -run 'Damaged|Foreign|Interrupted|PowerFailure|NewerVersion|Fuzz' -count=5
     IMCTL_TEST_KILLS=50 go test ./embedded -run TestKilled

Until the line is changed, the server starts without the check and logs a warning.`,
			formatVersion, linkedVersion, formatVersionLine(t))
	}
}

// formatVersionLine returns file:line of the constant.
func formatVersionLine(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("format.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if strings.HasPrefix(line, "const formatVersion = ") {
			return fmt.Sprintf("embedded/format.go:%d", n)
		}
	}
	t.Fatal("format.go has no line const formatVersion")
	return ""
}

// TestDataCheckEnabled: the data check runs only with the nats-server whose formats it knows, and only if it is not
// off. The log has one line if it does not run.
func TestDataCheckEnabled(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		linked string
		skip   bool
		want   bool
		words  []string // of the log
	}{
		"known version":      {formatVersion, false, true, nil},
		"off":                {formatVersion, true, false, []string{"level=INFO", "off"}},
		"other version":      {"2.99.1", false, false, []string{"level=WARN", "skipped", " version=2.99.1", "known_version=" + formatVersion}},
		"other version, off": {"2.99.1", true, false, []string{"level=INFO", "off"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := new(logBuffer)
			if got := dataCheckEnabled(tt.linked, tt.skip, log.logger(slog.LevelInfo)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if got, want := strings.Count(log.String(), "\n"), min(len(tt.words), 1); got != want {
				t.Errorf("got %d lines in the log, want %d: %s", got, want, log)
			}
			for _, w := range tt.words {
				if !strings.Contains(log.String(), w) {
					t.Errorf("got the log %q, want %q in it", log, w)
				}
			}
		})
	}
}

// TestSkipDataCheck: a damaged block stops a start. Without the data check nats-server starts and drops the damaged
// part.
func TestSkipDataCheck(t *testing.T) {
	t.Parallel()
	_, path := stores(t)
	overwrite(firstBlock, inFirstMessage, []byte("xx"))(t, path)
	d := openDir(t, path)
	_, err := Start(t.Context(), Options{Dir: d, Log: slog.New(slog.DiscardHandler)})
	wantLine(t, err, ErrStoreDamaged, "KV_users", "1.blk")

	log := new(logBuffer)
	s := start(t, Options{Dir: d, SkipDataCheck: true, Log: log.logger(slog.LevelInfo)})
	if n := strings.Count(log.String(), "the data check is off"); n != 1 {
		t.Errorf("the log says %d times that the check is off, want once: %s", n, log)
	}
	kv, err := jetStream(t, s).KeyValue(t.Context(), "users")
	if err != nil {
		t.Fatal(err)
	}
	want(t, kv, "new.0", value(0, 100))
}
