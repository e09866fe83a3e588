package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
)

// Files are chunks in a stream. A key of that stream is what its subjects have after "<prefix>.file.":
//
//	data.<from>.<to>.<name>.0       the bytes: a message for each chunk
//	meta.<from>.<to>.<name>.<size>  the description, written once, after the bytes: from then on the file exists
//	named.<from>.<to>.<name>.0      a dialogue names the file
//
// from and to are ids of users, name is random, and size is in hexadecimal digits. So the files of a user and those of a
// conversation are subject filters, and a list of subjects tells how much a user has sent. No message replaces another
// one, and a purge leaves a tombstone for each message that it removes: a removed file stays removed if nats-server
// rebuilds its index from the blocks.
//
// The object store of the NATS client has none of that: it hashes no pair into its subjects, describes a file by a
// message that is replaced, reads files as a whole, and holds up to 4,000 chunks of an upload in memory. Its subjects
// ($O.>) do not reach the server of another JetStream domain.

// ErrNoFile: no file has this id, or it was removed.
var ErrNoFile = errors.New("no such file")

// ErrFilesFull: the files of a user, or all files, take up the space that they may.
var ErrFilesFull = errors.New("no space is left for files")

const (
	// FileChunk is the size of all chunks of a file but the last one.
	FileChunk = 128 << 10
	// MaxFile is the largest size that a file may have: the description lists all chunks.
	MaxFile = 1 << 30
	// FileShare is what a file counts at least against the quota of its sender, so that the number of files is bounded.
	FileShare = 64 << 10
	// FileNaming is how long a dialogue may name a file after its upload.
	FileNaming = time.Hour
)

// FilesOptions configure the stream of files.
type FilesOptions struct {
	MaxAge   time.Duration // of a file; 0: no limit
	MaxBytes int64         // of all files; 0 or less: no limit
}

// File describes a file. Its JSON form is what clients see.
type File struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Type    string  `json:"type"` // media type, as the sender names it
	Size    int64   `json:"size"` // bytes
	Width   int     `json:"width,omitempty"`
	Height  int     `json:"height,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`

	From string    `json:"-"` // id of the sender
	To   string    `json:"-"` // id of the friend
	At   time.Time `json:"-"` // end of the upload

	chunks []uint64 // sequences
}

// storedFile is a File as it is stored. The sequence of a chunk is the sum of Steps up to it.
type storedFile struct {
	File
	Steps []uint64 `json:"steps"`
}

// fileKey is what the id of a file consists of.
type fileKey struct {
	from, to, name string
	size           int64
}

const fileName = 16 // hexadecimal digits

// id returns the id of the file: <from><to><name><size>.
func (k fileKey) id() string { return k.from + k.to + k.name + strconv.FormatInt(k.size, 16) }

// parseFileID is the inverse of id.
func parseFileID(id string) (k fileKey, ok bool) {
	const ids = 2 * idLength
	if len(id) <= ids+fileName || !ValidID(id[:idLength]) || !ValidID(id[idLength:ids]) {
		return k, false
	}
	k = fileKey{from: id[:idLength], to: id[idLength:ids], name: id[ids : ids+fileName]}
	return k.withSize(id[ids+fileName:])
}

// withSize returns k with a size in hexadecimal digits.
func (k fileKey) withSize(digits string) (fileKey, bool) {
	var err error
	k.size, err = strconv.ParseInt(digits, 16, 64)
	ok := err == nil && k.size >= 0 && strconv.FormatInt(k.size, 16) == digits && k.from != k.to
	for _, c := range []byte(k.name) {
		ok = ok && (c >= '0' && c <= '9' || c >= 'a' && c <= 'f')
	}
	return k, ok
}

// The first words of the keys.
const (
	fileData  = "data"
	fileMeta  = "meta"
	fileNamed = "named"
)

func (k fileKey) of(what string) string {
	size := "0"
	if what == fileMeta {
		size = strconv.FormatInt(k.size, 16)
	}
	return what + "." + k.from + "." + k.to + "." + k.name + "." + size
}

// parseFileKey returns the file of a key, and the first word of the key. Only the key of a description has the size.
func parseFileKey(key string) (what string, k fileKey, ok bool) {
	words := strings.Split(key, ".")
	if len(words) != 5 || len(words[3]) != fileName || !ValidID(words[1]) || !ValidID(words[2]) {
		return "", k, false
	}
	k, ok = fileKey{from: words[1], to: words[2], name: words[3]}.withSize(words[4])
	return words[0], k, ok
}

// Files is the stream of files.
type Files struct {
	b   *bucket
	log *slog.Logger
}

// filesConfig returns the configuration of the stream of files. A full stream refuses chunks.
func filesConfig(opts Options) jetstream.StreamConfig {
	p := subject.Prefix(opts.Prefix)
	c := EntryStream(p.FileStream(), p.FileAll(), opts.Replicas, opts.Files.MaxAge, opts.Files.MaxBytes)
	c.Retention, c.Discard, c.AllowAtomicPublish = jetstream.LimitsPolicy, jetstream.DiscardNew, false
	c.Duplicates = 2 * time.Minute
	if opts.Files.MaxAge > 0 {
		c.Duplicates = min(c.Duplicates, opts.Files.MaxAge)
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = -1
	}
	return c
}

// openFiles creates the stream of files, or updates the existing one, and notes in the state that it must exist. It
// stays so while files are off.
//
// Errors: ErrStreamMismatch, ErrConflict.
func openFiles(ctx context.Context, js jetstream.JetStream, states *States, opts Options) (*Files, error) {
	want := filesConfig(opts)
	if err := ensureSized(ctx, js, want, "files.max_bytes", "files", opts.Log); err != nil {
		return nil, fmt.Errorf("kv: stream of files %s: %w", want.Name, err)
	}
	var f *Files
	err := retrySettling(ctx, func(ctx context.Context) (err error) {
		if _, err = states.Expect(ctx, want.Name); err == nil {
			f, err = newFiles(ctx, js, opts.Prefix, opts.Log)
		}
		return err
	})
	return f, err
}

// newFiles returns the existing stream of files.
func newFiles(ctx context.Context, js jetstream.JetStream, prefix string, log *slog.Logger) (*Files, error) {
	p := subject.Prefix(prefix)
	s, err := findStream(ctx, js, p.FileStream())
	if err != nil {
		return nil, fmt.Errorf("kv: stream of files %s: %w", p.FileStream(), err)
	}
	b := newReader(js)
	b.location.Store(&location{
		stream:     p.FileStream(),
		prefix:     strings.TrimSuffix(p.FileAll(), ">"),
		replicated: s.CachedInfo().Config.Replicas > 1,
	})
	return &Files{b: b, log: log}, nil
}

// OpenFiles returns the existing stream of files, or nil if there is none. It does not change its configuration.
//
// Errors: only those of NATS and ctx.
func OpenFiles(ctx context.Context, nc *nats.Conn, prefix string) (*Files, error) {
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	f, err := newFiles(ctx, js, prefix, slog.New(slog.DiscardHandler))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	return f, err
}

// StoredFiles returns the stream of files also while files are off, or nil if there is none.
//
// Errors: only those of NATS and ctx.
func (s *Store) StoredFiles(ctx context.Context) (*Files, error) {
	if s.Files != nil {
		return s.Files, nil
	}
	f, err := OpenFiles(ctx, s.Users.b.nc, s.States.prefix)
	if f != nil {
		f.b.mayWrite = s.Users.b.mayWrite
	}
	return f, err
}

// EraseFiles removes all files of a user that is deleted, also while files are off.
//
// Errors: ErrUserNotFound for an invalid id.
func (s *Store) EraseFiles(ctx context.Context, id string) error {
	f, err := s.StoredFiles(ctx)
	if err != nil || f == nil {
		return err
	}
	return f.RemoveUser(ctx, id)
}

// Stream returns the name of the stream.
func (f *Files) Stream() string { return f.b.stream() }

// UsersOf returns the ids of the two users of a file: its sender and the friend. ok is false if no file can have the id.
func (f *Files) UsersOf(id string) (from, to string, ok bool) {
	k, ok := parseFileID(id)
	return k.from, k.to, ok
}

// Find returns a file.
//
// Errors: ErrNoFile.
func (f *Files) Find(ctx context.Context, id string) (*File, error) {
	k, ok := parseFileID(id)
	if !ok {
		return nil, ErrNoFile
	}
	e, err := f.b.get(ctx, k.of(fileMeta), false)
	if errors.Is(err, errKeyNotFound) {
		return nil, ErrNoFile
	}
	if err != nil {
		return nil, fmt.Errorf("kv: read a file: %w", err)
	}
	return f.decode(k, e)
}

func (f *Files) decode(k fileKey, e entry) (*File, error) {
	var s storedFile
	err := json.Unmarshal(e.value, &s)
	if chunks := (k.size + FileChunk - 1) / FileChunk; err == nil && (int64(len(s.Steps)) != chunks || s.Size != k.size) {
		err = errors.New("it does not have the chunks of its size")
	}
	if err != nil {
		return nil, fmt.Errorf("kv: message %d of %s: not the description of a file: %w", e.revision, f.b.stream(), err)
	}
	file := &s.File
	file.ID, file.From, file.To, file.At = k.id(), k.from, k.to, e.written
	file.chunks = make([]uint64, len(s.Steps))
	seq := uint64(0)
	for i, step := range s.Steps {
		seq += step
		file.chunks[i] = seq
	}
	return file, nil
}

// Mention returns the JSON form of a file for a dialogue from its sender to its friend.
//
// Errors: ErrNoFile, also for a file of other users, and for one that no dialogue has named within FileNaming.
func (f *Files) Mention(ctx context.Context, id, from, to string) ([]byte, error) {
	k, ok := parseFileID(id)
	if !ok || k.from != from || k.to != to {
		return nil, ErrNoFile
	}
	file, err := f.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	if time.Since(file.At) > FileNaming {
		_, err := f.b.get(ctx, k.of(fileNamed), false)
		if errors.Is(err, errKeyNotFound) {
			return nil, ErrNoFile
		}
		if err != nil {
			return nil, fmt.Errorf("kv: read a file: %w", err)
		}
	}
	return file.JSON(), nil
}

// JSON returns the form of the file that clients see.
func (f *File) JSON() []byte {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // impossible: texts and numbers
	}
	return b
}

// FileID returns the id in the JSON form of a file, "" if there is none.
func FileID(file []byte) string {
	var f struct{ ID string }
	if json.Unmarshal(file, &f) != nil {
		return ""
	}
	return f.ID
}

// Used returns how many bytes the files that a user has sent count.
//
// Errors: only those of NATS and ctx.
func (f *Files) Used(ctx context.Context, user string) (used int64, err error) {
	if !ValidID(user) {
		return 0, nil
	}
	err = f.list(ctx, fileMeta+"."+user+".>", func(_ string, k fileKey) error {
		used += max(k.size, FileShare)
		return nil
	})
	return used, err
}

// list calls do with all keys that match a filter.
func (f *Files) list(ctx context.Context, filter string, do func(what string, k fileKey) error) error {
	for offset := 0; ; {
		var info struct {
			apiResponse
			Total int `json:"total"` // of the subjects, on all pages
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		request := map[string]any{"subjects_filter": f.b.prefix() + filter, "offset": offset}
		if err := f.b.request(ctx, "STREAM.INFO", request, &info); err != nil {
			return fmt.Errorf("kv: list the files in %s: %w", f.b.stream(), err)
		}
		for s := range info.State.Subjects {
			what, k, ok := parseFileKey(strings.TrimPrefix(s, f.b.prefix()))
			if !ok {
				continue
			}
			if err := do(what, k); err != nil {
				return err
			}
		}
		if offset += len(info.State.Subjects); len(info.State.Subjects) == 0 || offset >= info.Total {
			return nil
		}
	}
}

// FileStats count the stored files.
type FileStats struct {
	Files    int    `json:"files"`
	Bytes    uint64 `json:"bytes"`     // of the stream
	MaxBytes int64  `json:"max_bytes"` // -1: no limit
}

// Stats counts the files.
//
// Errors: only those of NATS and ctx.
func (f *Files) Stats(ctx context.Context) (s FileStats, err error) {
	stream, err := findStream(ctx, f.b.js, f.b.stream())
	if err != nil {
		return s, fmt.Errorf("kv: count files: %w", err)
	}
	s.Bytes, s.MaxBytes = stream.CachedInfo().State.Bytes, stream.CachedInfo().Config.MaxBytes
	err = f.list(ctx, fileMeta+".>", func(string, fileKey) error { s.Files++; return nil })
	return s, err
}

// Bytes returns the size of the stream.
//
// Errors: only those of NATS and ctx.
func (f *Files) Bytes(ctx context.Context) (int64, error) {
	s, err := findStream(ctx, f.b.js, f.b.stream())
	if err != nil {
		return 0, fmt.Errorf("kv: read the size of the files: %w", err)
	}
	return int64(s.CachedInfo().State.Bytes), nil
}

// Remove removes a file. A missing one is no error. The description goes first: a part of a file is never read as the
// file, and a later call, or a sweep, removes the rest.
//
// Errors: only those of NATS and ctx.
func (f *Files) Remove(ctx context.Context, id string) error {
	k, ok := parseFileID(id)
	if !ok {
		return nil
	}
	return f.remove(ctx, k)
}

func (f *Files) remove(ctx context.Context, k fileKey) error {
	return f.purge(ctx, k.from+"."+k.to+"."+k.name+".*")
}

// purge removes all messages whose keys match a filter, in front of which the first word of the keys stands.
func (f *Files) purge(ctx context.Context, filter string) error {
	for _, what := range [...]string{fileMeta, "*"} {
		if err := f.b.purgeSubjects(ctx, f.b.prefix()+what+"."+filter, 0); err != nil {
			return fmt.Errorf("kv: remove files: %w", err)
		}
	}
	return nil
}

// RemovePair removes all files of a conversation.
//
// Errors: only those of NATS and ctx.
func (f *Files) RemovePair(ctx context.Context, p Pair) error {
	if !p.valid() {
		return nil
	}
	return errors.Join(f.purge(ctx, p.A+"."+p.B+".>"), f.purge(ctx, p.B+"."+p.A+".>"))
}

// RemoveUser removes all files that a user has sent or received.
//
// Errors: ErrUserNotFound for an invalid id.
func (f *Files) RemoveUser(ctx context.Context, user string) error {
	if !ValidID(user) {
		return fmt.Errorf("kv: remove files: %w", ErrUserNotFound)
	}
	return errors.Join(f.purge(ctx, user+".>"), f.purge(ctx, "*."+user+".>"))
}
