package embedded

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
)

// compressed returns what write has written, compressed.
func compressed(t *testing.T, write func(w io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	w := s2.NewWriter(&b)
	if err := errors.Join(write(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// archived is a snapshot with these entries: a name and a sequence each.
func archived(t *testing.T, entries ...archive.Header) []byte {
	return compressed(t, func(w io.Writer) error {
		a := archive.NewWriter(w)
		var failed []error
		for _, h := range entries {
			h.PayloadSize = int64(len("text"))
			if h.Name == "" {
				h.PayloadSize = 0
			}
			failed = append(failed, a.WriteHeader(&h))
			if h.PayloadSize > 0 {
				_, err := a.Write([]byte("text"))
				failed = append(failed, err)
			}
		}
		return errors.Join(append(failed, a.Flush())...)
	})
}

// tarred is a snapshot of an older server with these files: a name and a text each.
func tarred(t *testing.T, files ...[2]string) []byte {
	return compressed(t, func(w io.Writer) error {
		a := tar.NewWriter(w)
		var failed []error
		for _, f := range files {
			failed = append(failed, a.WriteHeader(&tar.Header{Name: f[0], Size: int64(len(f[1])), Mode: 0o600}))
			_, err := a.Write([]byte(f[1]))
			failed = append(failed, err)
		}
		return errors.Join(append(failed, a.Close())...)
	})
}

// record returns a valid record of a block.
func record(key, subject, text string) string {
	size := recordHead + len(subject) + len(text) + checksumSize
	b := make([]byte, recordHead, size)
	b[0], b[1], b[4], b[20] = byte(size), byte(size>>8), 1, byte(len(subject))
	b = append(append(b, subject...), text...)
	h := newChecksum(key)
	h.Write(b[4:20])
	h.Write(b[recordHead:])
	return string(h.Sum(b))
}

func TestCheckSnapshot(t *testing.T) {
	t.Parallel()
	state, end := archive.Header{Name: snapshotState}, archive.Header{}
	message := func(n uint64) archive.Header { return archive.Header{Name: "x", Sequence: n} }
	whole := archived(t, state, archive.Header{Name: "consumers/a"}, message(1), message(7), end)
	meta, sum := [2]string{metaName, "{}"}, [2]string{metaSumName, "0"}
	good := record("S-1", "a", "text")
	other := strings.Replace(good, "text", "test", 1)
	for name, test := range map[string]struct {
		snapshot []byte
		want     string // "" for a good one
	}{
		"archive":              {whole, ""},
		"empty archive":        {archived(t, state, end), ""},
		"nothing":              {nil, "EOF"},
		"half an archive":      {whole[:len(whole)/2], "s2"},
		"another byte":         {append(bytes.Clone(whole[:len(whole)-20]), append([]byte{whole[len(whole)-20] ^ 1}, whole[len(whole)-19:]...)...), ""},
		"archive, no end":      {archived(t, state, message(1)), "no end"},
		"archive, no state":    {archived(t, message(1), end), "no state"},
		"archive, wrong order": {archived(t, state, message(2), message(1), end), "message 1 follows message 2"},
		"archive, more":        {archived(t, state, end, message(1)), "follows the end"},
		"tar":                  {tarred(t, meta, sum, [2]string{"msgs/1.blk", good}, [2]string{"msgs/index.db", "x"}, [2]string{"obs/a/" + metaName, "{}"}), ""},
		"tar, no description":  {tarred(t, [2]string{"msgs/1.blk", good}), "no description"},
		"tar, bad record":      {tarred(t, meta, sum, [2]string{"msgs/1.blk", other}), "msgs/1.blk: bad record at byte 0"},
		"tar, cut record":      {tarred(t, meta, sum, [2]string{"msgs/1.blk", good + good[:9]}), "bad record at byte"},
		"tar, other block":     {tarred(t, meta, sum, [2]string{"msgs/2.blk", good}), "bad record at byte 0"},
		"tar, bad description": {tarred(t, [2]string{metaName, "{"}, sum), "not a description"},
		"tar, error":           {tarred(t, meta, sum, [2]string{snapshotErrors, "x"}), "could not read"},
	} {
		err := CheckSnapshot("S", bytes.NewReader(test.snapshot))
		if name == "another byte" {
			if !errors.Is(err, ErrSnapshotDamaged) {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, ErrSnapshotDamaged) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	broken := errors.New("broken")
	if err := CheckSnapshot("S", iotest.ErrReader(broken)); !errors.Is(err, broken) || errors.Is(err, ErrSnapshotDamaged) {
		t.Errorf("an error of the reader: got %v", err)
	}
}
