package cmd

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// onceLarge calls do after about limit bytes were written, once.
type onceLarge struct {
	bytes.Buffer
	limit int
	do    func()
}

func (o *onceLarge) Write(p []byte) (int, error) {
	if o.limit -= len(p); o.limit < 0 && o.do != nil {
		o.do()
		o.do = nil
	}
	return o.Buffer.Write(p)
}

// TestBackupHasChangedRecords changes and removes records while a snapshot is being read that has not reached them. The
// backup must have each record that exists, with its new value.
func TestBackupHasChangedRecords(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(runNATS(t, natsOptions(t, fmt.Sprintf("jetstream {store_dir: %q}", t.TempDir()))).ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	config := jetstream.StreamConfig{Name: "KV_im_users", Subjects: []string{"$KV.im_users.>"}, MaxMsgsPerSubject: 1, AllowDirect: true, AllowMsgTTL: true}
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	const records = 2000
	put := func(i int, text string, options ...jetstream.PublishOpt) {
		t.Helper()
		if _, err := js.Publish(t.Context(), fmt.Sprint("$KV.im_users.", i), []byte(text), options...); err != nil {
			t.Fatal(err)
		}
	}
	for i := range records { // more than waits for the reader of a snapshot
		text := make([]byte, 8<<10)
		_, _ = rand.Read(text) // never fails
		put(i, string(text))
	}
	out := &onceLarge{limit: 64 << 10, do: func() {
		for i := records - 50; i < records; i++ {
			put(i, "changed", jetstream.WithMsgTTL(time.Hour))
			put(i, "changed again")
		}
	}}
	b := backup{progress: new(progressLine), nc: nc, step: func(string) {}, tar: newBackupWriter(out, time.Now())}
	err = b.tar.addJSON(manifestEntry, manifest{Format: backupFormat, Prefix: "im", Streams: []string{"KV_im_users"}})
	if err == nil {
		err = b.addStream(t.Context(), "KV_im_users")
	}
	if err == nil {
		err = b.tar.close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := verifyBackup(t.Context(), bytes.NewReader(out.Bytes()), nil); err != nil || got.Streams[0].Messages != records {
		t.Errorf("verify: got %+v, %v", got, err)
	}

	if err := deleteStream(t.Context(), nc, "KV_im_users"); err != nil {
		t.Fatal(err)
	}
	r := restorer{file: bytes.NewReader(out.Bytes()), config: Defaults(), progress: new(progressLine)}
	if err := eachStream(r.file, func(name string, s *backedUpStream) error { return r.stageStream(t.Context(), nc, name, s) }); err != nil {
		t.Fatal(err)
	}
	if n := countMessages(t, js); n == records {
		t.Error("the snapshot has all records, so this test shows nothing")
	}
	if err := r.restoreTails(t.Context(), nc); err != nil {
		t.Fatal(err)
	}
	if n := countMessages(t, js); n != records {
		t.Errorf("restored %d records, want %d", n, records)
	}
	stream, err := js.Stream(t.Context(), "KV_im_users")
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), fmt.Sprint("$KV.im_users.", records-1))
	if err != nil || string(m.Data) != "changed again" {
		t.Errorf("got %v, %v", m, err)
	}
}

func countMessages(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), "KV_im_users")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// TestTailHeader checks which headers of a message are written again.
func TestTailHeader(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, test := range map[string]struct {
		header  nats.Header
		written time.Time
		want    string
	}{
		"none":            {nil, now, "false map[]"},
		"a delete marker": {nats.Header{"KV-Operation": {"DEL"}, "Nats-Expected-Last-Subject-Sequence": {"7"}}, now, "false map[KV-Operation:[DEL]]"},
		"time left":       {nats.Header{"Nats-TTL": {"1h0m0s"}}, now.Add(-30*time.Minute - 500*time.Millisecond), "false map[Nats-TTL:[29m59s]]"},
		"expired":         {nats.Header{"Nats-TTL": {"1h0m0s"}}, now.Add(-time.Hour), "true map[Nats-TTL:[1s]]"},
		"marker of NATS":  {nats.Header{"Nats-Marker-Reason": {"MaxAge"}}, now, "true map[]"},
	} {
		h, skip := tailHeader(tailMessage{Header: test.header, Time: test.written})
		if got := fmt.Sprint(skip, " ", map[string][]string(h)); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}
