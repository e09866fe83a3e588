package cmd

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lostStart starts a server on the data directory, stops it, and returns the error of the start.
func lostStart(t *testing.T, data string, accept ...string) error {
	t.Helper()
	c := Defaults()
	c.Listen, c.Ops.Listen, c.NATS.Listen, c.Data, c.acceptLoss = "127.0.0.1:0", "", "", data, accept
	app, err := NewApp(t.Context(), c, slog.New(slog.DiscardHandler), new(slog.LevelVar))
	if err != nil {
		return err
	}
	return app.Close()
}

// TestStartMissesStreams checks that a start fails if a stream is missing, and names the stream and both remedies.
// After the loss is accepted the server starts, and later starts succeed too.
func TestStartMissesStreams(t *testing.T) {
	t.Parallel()
	all := []string{"IM_AUDIT", "IM_FILES", "IM_LOG", "IM_TALKS", "KV_im_friendships", "KV_im_state", "KV_im_tokens", "KV_im_users"}
	for _, missing := range append([][]string{all}, []string{"KV_im_users"}, []string{"KV_im_friendships"}, []string{"KV_im_tokens"},
		[]string{"IM_AUDIT"}, []string{"IM_FILES"}, []string{"IM_LOG"}, []string{"IM_TALKS"}, []string{"KV_im_state"}, []string{"KV_im_tokens", "KV_im_users"}) {
		name := strings.Join(missing, ",")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			data := s.app.config.Data
			w := newWorld(t, s)
			ada := w.newMember(t, 0)
			w.close(t)
			s.close(t)
			if len(missing) == len(all) {
				if err := os.RemoveAll(filepath.Join(data, "jetstream")); err != nil {
					t.Fatal(err)
				}
			}
			for _, stream := range missing {
				if err := os.RemoveAll(filepath.Join(data, "jetstream", "IM", "streams", stream)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // a failed start must not create the stream
				said := command(t, filepath.Dir(data), "", "serve", "--data", data, "--listen", "127.0.0.1:0", "--ops.listen", "", "--nats.listen", "")
				said.want(t, exitFailed, append(slices.Clone(missing), "imctl restore FILE", "--accept-loss "+name)...)
			}
			command(t, filepath.Dir(data), "", "user", "list", "--data", data).want(t, exitFailed, missing...)
			if err := lostStart(t, data, missing...); err != nil {
				t.Fatalf("start with the loss accepted: %v", err)
			}
			if err := lostStart(t, data); err != nil {
				t.Errorf("next start: %v", err)
			}
			said := command(t, filepath.Dir(data), "", "user", "list", "--data", data)
			if kept := !strings.Contains(name, "users"); said.code != exitDone || strings.Contains(said.out, ada.account) != kept {
				t.Errorf("user list: got exit code %d: %s", said.code, said.out)
			}
		})
	}
}

// TestStartMissesConsumer checks that a start fails if the consumer of an attachment is missing. After the loss is
// accepted, the server creates a new consumer. A removed attachment needs no consumer.
func TestStartMissesConsumer(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	data := s.app.config.Data
	for _, name := range []string{"archiver", "other", "removed"} {
		command(t, dir, "", "attach", "add", name, "--role", "consumer", "--context", filepath.Join(dir, name+".json")).want(t, exitDone)
	}
	command(t, dir, "", "attach", "remove", "removed", "--yes").want(t, exitDone)
	s.close(t)
	durable := filepath.Join(data, "jetstream", "IM", "streams", "IM_LOG", "obs", "archiver")
	if err := os.RemoveAll(durable); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := lostStart(t, data)
		if err == nil || !strings.Contains(err.Error(), "IM_LOG/archiver") || strings.Contains(err.Error(), "other") {
			t.Fatalf("start without the consumer: %v", err)
		}
	}
	if err := lostStart(t, data, "IM_LOG/archiver"); err != nil {
		t.Fatalf("start with the loss accepted: %v", err)
	}
	if _, err := os.Stat(durable); err != nil {
		t.Errorf("the consumer was not created: %v", err)
	}
	if err := lostStart(t, data); err != nil {
		t.Errorf("next start: %v", err)
	}
}

// TestStartMissesWebhooks checks that a start fails if the stream of webhooks is missing, once there has been a
// webhook. After the loss is accepted, the server creates the stream, and the webhook is still there.
func TestStartMissesWebhooks(t *testing.T) {
	t.Parallel()
	s := start(t)
	data := s.app.config.Data
	command(t, filepath.Dir(data), "", "webhook", "add", "push", "--url", "https://push.example.org/", "--events", "user.created", "--data", data).want(t, exitDone)
	s.close(t)
	stream := filepath.Join(data, "jetstream", "IM", "streams", "IM_WEBHOOKS")
	if err := os.RemoveAll(stream); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a failed start must not create the stream
		err := lostStart(t, data)
		if err == nil || !strings.Contains(err.Error(), "IM_WEBHOOKS") {
			t.Fatalf("start without the stream: %v", err)
		}
	}
	if err := lostStart(t, data, "IM_WEBHOOKS"); err != nil {
		t.Fatalf("start with the loss accepted: %v", err)
	}
	if _, err := os.Stat(stream); err != nil {
		t.Errorf("the stream was not created: %v", err)
	}
	if err := lostStart(t, data); err != nil {
		t.Errorf("next start: %v", err)
	}
	if said := command(t, filepath.Dir(data), "", "webhook", "list", "--data", data); said.code != exitDone || !strings.Contains(said.out, "push") {
		t.Errorf("webhook list: got exit code %d: %s", said.code, said.out)
	}
}
