package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"
)

// newFileStore opens a store that keeps conversations and files, on a server of its own.
func newFileStore(t testing.TB, o FilesOptions) *Store {
	t.Helper()
	return newStore(t, Options{Talks: &TalksOptions{MaxAge: 30 * 24 * time.Hour}, Files: &o})
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

// putFile stores a file from a user to another one.
func putFile(t testing.TB, f *Files, from, to string, content []byte) *File {
	t.Helper()
	file := &File{Name: "a.png", Type: "image/png", From: from, To: to}
	if err := f.Put(t.Context(), file, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return file
}

// exists reports whether a file can be found.
func (f *Files) exists(t testing.TB, id string) bool {
	t.Helper()
	_, err := f.Find(t.Context(), id)
	if err != nil && !errors.Is(err, ErrNoFile) {
		t.Fatal(err)
	}
	return err == nil
}

// messages returns how many messages the stream of files has.
func (f *Files) messages(t testing.TB) uint64 {
	t.Helper()
	s, err := f.b.js.Stream(t.Context(), f.Stream())
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// TestFiles stores files of all sizes around those of a chunk, and reads them whole and from any offset, also when files
// are stored at the same time.
func TestFiles(t *testing.T) {
	t.Parallel()
	f := newFileStore(t, FilesOptions{}).Files
	sizes := []int{0, 1, FileChunk - 1, FileChunk, FileChunk + 1, 5*FileChunk + 7}
	files := make([]*File, len(sizes))
	errs := atOnce(len(sizes), func(i int) error {
		files[i] = &File{Name: fmt.Sprint(i), Type: "x/y", From: testPair.A, To: testPair.B}
		return f.Put(t.Context(), files[i], bytes.NewReader(randomBytes(sizes[i])))
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	used := int64(0)
	for i, size := range sizes {
		used += max(int64(size), FileShare)
		want := randomBytes(size)
		file, err := f.Find(t.Context(), files[i].ID)
		if err != nil || file.Name != fmt.Sprint(i) || file.Size != int64(size) || file.From != testPair.A || file.To != testPair.B || file.At.IsZero() {
			t.Fatalf("file of %d bytes: %+v, %v", size, file, err)
		}
		got, err := io.ReadAll(f.Open(t.Context(), file))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("a file of %d bytes is read with %d bytes, %v", size, len(got), err)
		}
		for _, offset := range []int{1, FileChunk - 1, FileChunk, size - 1} {
			r := f.Open(t.Context(), file)
			if offset < 0 || offset > size {
				continue
			}
			if _, err := r.Seek(int64(offset), io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want[offset:]) {
				t.Errorf("a file of %d bytes is read from %d with %d bytes, %v", size, offset, len(got), err)
			}
		}
	}
	if got, err := f.Used(t.Context(), testPair.A); err != nil || got != used {
		t.Errorf("the files of the sender count %d (%v), want %d", got, err, used)
	}
	if got, err := f.Used(t.Context(), testPair.B); err != nil || got != 0 {
		t.Errorf("the files of the friend count %d (%v), want 0", got, err)
	}
	for _, id := range []string{"", "x", files[1].ID + "0", files[1].ID[:80], files[1].ID[:80] + "+1", files[1].ID[:80] + "2", testPair.A + testPair.A + files[1].ID[64:]} {
		if f.exists(t, id) {
			t.Errorf("%q is the id of a file", id)
		}
	}
}

// TestFileMention: only the sender may name a file, to the friend it was sent to.
func TestFileMention(t *testing.T) {
	t.Parallel()
	f := newFileStore(t, FilesOptions{}).Files
	file := putFile(t, f, testPair.A, testPair.B, []byte("x"))
	got, err := f.Mention(t.Context(), file.ID, testPair.A, testPair.B)
	if want := `{"id":"` + file.ID + `","name":"a.png","type":"image/png","size":1}`; err != nil || string(got) != want || FileID(got) != file.ID {
		t.Errorf("the file is %s (%v), want %s", got, err, want)
	}
	for _, p := range [][2]string{{testPair.B, testPair.A}, {testPair.A, NewID()}, {NewID(), testPair.B}} {
		if _, err := f.Mention(t.Context(), file.ID, p[0], p[1]); !errors.Is(err, ErrNoFile) {
			t.Errorf("%v: %v, want %v", p, err, ErrNoFile)
		}
	}
	if err := f.Remove(t.Context(), file.ID); err != nil || f.exists(t, file.ID) || f.messages(t) != 0 {
		t.Errorf("after the removal (%v) the file exists: %t, of %d messages", err, f.exists(t, file.ID), f.messages(t))
	}
	if _, err := io.ReadAll(f.Open(t.Context(), file)); !errors.Is(err, ErrNoFile) {
		t.Errorf("a removed file is read: %v", err)
	}
}

// breaksAfter reads n bytes and then fails.
type breaksAfter struct{ n int }

var errBroken = errors.New("broken")

func (r *breaksAfter) Read(p []byte) (int, error) {
	n := min(len(p), r.n)
	if r.n -= n; n == 0 {
		return 0, errBroken
	}
	return n, nil
}

// TestFileAborted: what an upload has stored that breaks off, or does not fit, is removed.
func TestFileAborted(t *testing.T) {
	t.Parallel()
	f := newFileStore(t, FilesOptions{MaxBytes: 8 * FileChunk}).Files
	for n, want := range map[int]error{0: errBroken, 100: errBroken, 3*FileChunk + 5: errBroken, 12 * FileChunk: ErrFilesFull} {
		file := &File{From: testPair.A, To: testPair.B}
		if err := f.Put(t.Context(), file, &breaksAfter{n}); !errors.Is(err, want) {
			t.Errorf("after %d bytes: %v, want %v", n, err, want)
		}
		if left := f.messages(t); left != 0 {
			t.Errorf("after %d bytes %d messages are left", n, left)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Put(ctx, &File{From: testPair.A, To: testPair.B}, bytes.NewReader(randomBytes(100))); !errors.Is(err, context.Canceled) || f.messages(t) != 0 {
		t.Errorf("a cancelled upload: %v, and %d messages are left", err, f.messages(t))
	}
}

// TestTidyFiles: a sweep keeps files that dialogues name and removes others, once they are old enough.
func TestTidyFiles(t *testing.T) {
	t.Parallel()
	s := newFileStore(t, FilesOptions{})
	f := s.Files
	named := putFile(t, f, testPair.A, testPair.B, []byte("named"))
	other := putFile(t, f, testPair.B, testPair.A, []byte("named too"))
	unnamed := putFile(t, f, testPair.A, testPair.B, randomBytes(3*FileChunk))
	k, _ := parseFileID(unnamed.ID)
	k.name = "0123456789abcdef"
	if err := f.write(t.Context(), k.of(fileData), []byte("a part of an upload")); err != nil {
		t.Fatal(err)
	}
	d := dialogueAt(named.At.UnixMilli(), testPair.A, `"x"`)
	d.File = named.JSON()
	e := dialogueAt(named.At.UnixMilli()+1, testPair.B, `"x"`)
	e.File = other.JSON()
	head := say(t, s.Talks, EmptyRecord(testPair, 0), d)
	head = say(t, s.Talks, head, e)
	for range 20 {
		head = say(t, s.Talks, head, dialogueAt(named.At.UnixMilli()+2, testPair.A, `"later"`))
	}
	tidy := func(after time.Duration, want FileSweep) {
		t.Helper()
		got, err := f.Tidy(t.Context(), s.Talks, time.Now().Add(after))
		if err != nil || got != want {
			t.Errorf("after %s: %+v, %v, want %+v", after, got, err, want)
		}
	}
	tidy(0, FileSweep{Files: 3})
	tidy(FileNaming, FileSweep{Files: 3})
	tidy(2*FileNaming, FileSweep{Files: 2, Removed: 2})
	tidy(2*FileNaming, FileSweep{Files: 2})
	if !f.exists(t, named.ID) || !f.exists(t, other.ID) || f.exists(t, unnamed.ID) {
		t.Error("the wrong files are removed")
	}
	if left := f.messages(t); left != 6 {
		t.Errorf("%d messages are left, want data, description and note of two files", left)
	}
	if err := s.Talks.Erase(t.Context(), testPair); err != nil {
		t.Fatal(err)
	}
	tidy(2*FileNaming, FileSweep{Removed: 2})
	if left := f.messages(t); left != 0 {
		t.Errorf("%d messages are left", left)
	}
}

// TestRemoveFiles removes the files of a conversation, and those of a user, and no others.
func TestRemoveFiles(t *testing.T) {
	t.Parallel()
	f := newFileStore(t, FilesOptions{}).Files
	a, b, c := NewID(), NewID(), NewID()
	var all []*File
	for _, p := range [][2]string{{a, b}, {b, a}, {a, c}, {c, a}, {b, c}} {
		all = append(all, putFile(t, f, p[0], p[1], []byte("x")))
	}
	left := func(want ...bool) {
		t.Helper()
		for i, file := range all {
			if got := f.exists(t, file.ID); got != want[i] {
				t.Errorf("file %d exists: %t, want %t", i, got, want[i])
			}
		}
	}
	if err := f.RemovePair(t.Context(), PairOf(a, b)); err != nil {
		t.Fatal(err)
	}
	left(false, false, true, true, true)
	if err := f.RemoveUser(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	left(false, false, false, false, true)
	if err := f.RemoveUser(t.Context(), "*"); !errors.Is(err, ErrUserNotFound) {
		t.Errorf("an invalid id: %v", err)
	}
	left(false, false, false, false, true)
	if err := f.RemoveBefore(t.Context(), time.Now().Add(time.Minute)); err != nil || f.messages(t) != 0 {
		t.Errorf("all files are removed: %v, and %d messages are left", err, f.messages(t))
	}
}

// TestSweepFiles: files of users that do not exist are counted, and removed unless dry.
func TestSweepFiles(t *testing.T) {
	t.Parallel()
	s := newFileStore(t, FilesOptions{})
	a, b := mustCreate(t, s, "ann", "n").ID, mustCreate(t, s, "bob", "n").ID
	kept, orphan := putFile(t, s.Files, a, b, []byte("x")), putFile(t, s.Files, NewID(), b, []byte("x"))
	for _, step := range []struct {
		dry  bool
		want int
	}{{true, 1}, {false, 1}, {true, 0}} {
		found, err := s.Sweep(t.Context(), step.dry)
		if err != nil || found.Files != step.want {
			t.Errorf("dry %t: %+v, %v, want %d files", step.dry, found, err, step.want)
		}
	}
	if !s.Files.exists(t, kept.ID) || s.Files.exists(t, orphan.ID) {
		t.Error("the wrong file is removed")
	}
}

// TestRecordWithFile: a record has the files of its dialogues, and one without files is as before.
func TestRecordWithFile(t *testing.T) {
	t.Parallel()
	plain, with := dialogueAt(1, testPair.A, `"x"`), dialogueAt(2, testPair.B, `"y"`)
	with.File = []byte(`{"id":"1"}`)
	r := EmptyRecord(testPair, 0).Next(1, []Dialogue{plain, with, plain})
	data := r.Append(nil)
	got, err := DecodeRecord(testPair, 1, data)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"", `{"id":"1"}`, ""} {
		if d := got.Dialogues[i]; string(d.File) != want || d.From != r.Dialogues[i].From || !bytes.Equal(d.Payload, r.Dialogues[i].Payload) {
			t.Errorf("dialogue %d is %+v", i, d)
		}
	}
	if again := got.Append(nil); !bytes.Equal(again, data) {
		t.Error("the decoded record is encoded in another way")
	}
	for cut := range len(data) {
		if _, err := DecodeRecord(testPair, 1, data[:cut]); err == nil {
			t.Errorf("%d of %d bytes are a record", cut, len(data))
		}
	}
}

// BenchmarkFileRange reads 64 KiB in the middle of files of different sizes, and the whole of the largest.
func BenchmarkFileRange(b *testing.B) {
	f := newStore(b, Options{Files: &FilesOptions{}, Log: slog.New(slog.DiscardHandler)}).Files
	for _, size := range []int{1 << 20, 25 << 20} {
		file := putFile(b, f, testPair.A, testPair.B, randomBytes(size))
		for what, n := range map[string]int64{"64KiB": 64 << 10, "all": int64(size)} {
			b.Run(fmt.Sprintf("%d/%s", size, what), func(b *testing.B) {
				b.SetBytes(n)
				for b.Loop() {
					r := f.Open(b.Context(), file)
					if n < int64(size) {
						if _, err := r.Seek(int64(size/2), io.SeekStart); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := io.CopyN(io.Discard, r, n); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
