package cmd

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestDegradedLog fills the event log up for a consumer whose program does not come, and checks what the operator sees.
func TestDegradedLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, func(c *Config) {
		c.Data, c.NATS.Listen, c.NATS.Sync = filepath.Join(dir, "data"), "127.0.0.1:0", Sync(time.Minute)
		c.NATS.Log.MaxBytes = MiB
	})
	if body, status := s.readyz(t); body != "ok\n" || status != http.StatusOK {
		t.Errorf("with an empty log /readyz is %d %s", status, body)
	}
	add := []string{"attach", "add", "--role", "consumer", "--context"}
	command(t, dir, "", append(add, "archive.json", "archive")...).want(t, exitDone)
	command(t, dir, "", "attach", "resume", "archive").want(t, exitUse, "the attachment archive is not detached")
	command(t, dir, "", "attach", "resume", "nothing").want(t, exitNotFound)
	command(t, dir, "", "status").want(t, exitDone, "health    ok\n", "log       0 bytes, 0 % of 1MiB\n")
	nc, err := s.app.backend.connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	const entries, size = 28, 32 << 10
	for range entries {
		if _, err := js.Publish(t.Context(), "im.log.dialogue.x.y", []byte(strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
	}
	command(t, dir, "", append(add, "other.json", "other")...).want(t, exitDone) // a change of consumers has the log read
	const degraded = "degraded: the event log is 87 % full; consumer archive is behind by 28 entries"
	eventually(t, "/readyz says that the log is nearly full", func() bool {
		body, status := s.readyz(t)
		return body == "ok, "+degraded+"\n" && status == http.StatusOK
	})
	shown := command(t, dir, "", "status")
	if shown.code != exitFailed || shown.err != "imctl: "+degraded+"\n" ||
		!strings.Contains(shown.out, "87 % of 1MiB; slowest consumer archive: behind by 28 entries, the oldest ") {
		t.Errorf("status: %+v", shown)
	}
	st := fromJSON[status](t, command(t, dir, "", "status", "-o", "json").out)
	if st.Log == nil || st.Log.Percent != 87 || st.Log.MaxBytes != int64(MiB) || len(st.Log.Consumers) != 2 || st.Log.Consumers[0].Pending != entries {
		t.Errorf("the log is %+v", st.Log)
	}
	listed := command(t, dir, "", "attach", "list").want(t, exitDone, "BEHIND", "OLDEST", "SEEN", "STATE")
	if row := firstGroup(listed.out, `(?m)^(archive .*)$`); len(strings.Fields(row)) < 8 || strings.Fields(row)[4] != "28" {
		t.Errorf("the row of the consumer is %q", row)
	}
	command(t, dir, "", "attach", "list", "-o", "json").want(t, exitDone, `"consumer":{"name":"archive","attachment":true,"durable":true,"pending":28,"unacked":0`)
	metrics := httpBody(t, "http://"+reachable(s.app.ops.Addr())+"/metrics")
	for _, line := range []string{`imctl_log_consumer_pending{consumer="archive"} 28`, `imctl_log_consumer_pending{consumer="other"} 0`, "imctl_log_max_bytes 1.048576e+06"} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("the metrics have no %s", line)
		}
	}
	command(t, dir, "", "attach", "remove", "archive", "--yes").want(t, exitDone)
	eventually(t, "the log is fine after the removal", func() bool {
		body, _ := s.readyz(t)
		return body == "ok\n"
	})
	command(t, dir, "", "status").want(t, exitDone, "health    ok\n")
}
