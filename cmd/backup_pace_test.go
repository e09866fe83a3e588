package cmd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/s2"
)

// TestRawSize compresses data as NATS does, and counts its bytes in pieces of different sizes.
func TestRawSize(t *testing.T) {
	t.Parallel()
	random := make([]byte, 3<<20)
	rand.Read(random)
	for name, data := range map[string][]byte{
		"text": bytes.Repeat([]byte("the same text again "), 200000), "random": random, "short": []byte("x"), "nothing": nil,
		"both": append(bytes.Repeat([]byte{0}, 5<<20), random...),
	} {
		var snapshot bytes.Buffer
		w := s2.NewWriter(&snapshot)
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, 7, 1000, pacedChunk, 4 << 20} {
			var raw rawSize
			got, pieces := 0, bytes.NewReader(snapshot.Bytes())
			for piece := make([]byte, size); ; {
				n, err := io.ReadFull(pieces, piece)
				got += raw.add(piece[:n])
				if err != nil {
					break
				}
			}
			if got != len(data) {
				t.Errorf("%s in pieces of %d: %d bytes, want %d", name, size, got, len(data))
			}
		}
	}
}

// TestBackupPace: a piece costs its bytes before compression, and at least twice those that are stored.
func TestBackupPace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ stored, raw, left int }{
		{1000, 100000, backupBurst - 100000}, {1000, 1000, backupBurst - 2000}, {1000, 0, backupBurst - 2000},
	} {
		p := newBackupPace()
		p.limit.SetLimit(0) // the tokens do not come back
		if err := p.wait(t.Context(), c.stored, c.raw); err != nil {
			t.Fatal(err)
		}
		if got := int(p.limit.Tokens()); got != c.left {
			t.Errorf("%d stored, %d raw: %d tokens left, want %d", c.stored, c.raw, got, c.left)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("stopped")
	cancel(why)
	if err := (*backupPace)(nil).wait(ctx, 1, 1); !errors.Is(err, why) {
		t.Errorf("a canceled wait returns %v", err)
	}
}

// FuzzRawSize: no bytes end the count of a snapshot.
func FuzzRawSize(f *testing.F) {
	f.Add([]byte{0, 9, 0, 0, 1, 2, 3, 4, 0x80, 0x80, 1, 5, 6}, 3)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		var raw rawSize
		size = max(1, min(size, 1<<20))
		for len(data) > 0 {
			n := min(size, len(data))
			if raw.add(data[:n]) < 0 || raw.skip < 0 {
				t.Fatalf("%+v", raw)
			}
			data = data[n:]
		}
	})
}
