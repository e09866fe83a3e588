package cmd

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"
)

// A backup is a tar file:
//
//	manifest.json                   what it is a backup of
//	files/admin.json, files/tls/…   of the data directory, where that was at hand
//	streams/NAME/stream.json        configuration and state of a stream
//	streams/NAME/00000001, …        its snapshot, in pieces
//	sha256                          of the names and contents of all before

const (
	backupFormat  = 1
	manifestEntry = "manifest.json"
	sumEntry      = "sha256"
	filesFolder   = "files/"
	streamsFolder = "streams/"
	streamEntry   = "stream.json"

	// backupEntryMost bounds what is read into memory at once; the pieces of a snapshot are smaller.
	backupEntryMost = 16 << 20
)

// manifest says what a backup is of.
type manifest struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Version string    `json:"version"` // of imctl
	Prefix  string    `json:"prefix"`
	Streams []string  `json:"streams"`
}

// errBackup: the file is no backup, or not one that is whole.
var errBackup = errors.New("it is no backup, or it is damaged")

// backupWriter writes a backup.
type backupWriter struct {
	tar  *tar.Writer
	sum  hash.Hash
	made time.Time
}

func newBackupWriter(w io.Writer, made time.Time) *backupWriter {
	return &backupWriter{tar.NewWriter(w), sha256.New(), made}
}

func (b *backupWriter) add(name string, data []byte) error {
	addSum(b.sum, name, data)
	return b.write(name, data)
}

func (b *backupWriter) addJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.add(name, data)
}

func (b *backupWriter) write(name string, data []byte) error {
	err := b.tar.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(data)), ModTime: b.made})
	if err == nil {
		_, err = b.tar.Write(data)
	}
	return err
}

func (b *backupWriter) close() error {
	if err := b.write(sumEntry, []byte(hex.EncodeToString(b.sum.Sum(nil))+"\n")); err != nil {
		return err
	}
	return b.tar.Close()
}

// addSum counts an entry. Its size keeps what is name and what is content apart.
func addSum(h hash.Hash, name string, data []byte) {
	fmt.Fprintf(h, "%s\x00%d\x00", name, len(data))
	h.Write(data)
}

// backupReader reads a backup's entries.
type backupReader struct{ tar *tar.Reader }

func newBackupReader(r io.ReadSeeker) (*backupReader, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return &backupReader{tar.NewReader(r)}, nil
}

// next returns io.EOF behind the last entry.
func (b *backupReader) next() (name string, data []byte, err error) {
	h, err := b.tar.Next()
	if errors.Is(err, io.EOF) {
		return "", nil, err
	}
	if err != nil || h.Typeflag != tar.TypeReg || h.Size > backupEntryMost {
		return "", nil, errBackup
	}
	if data, err = io.ReadAll(b.tar); err != nil {
		return "", nil, errBackup
	}
	return h.Name, data, nil
}

// checkBackup reads all of a backup, and returns what it is of.
func checkBackup(r io.ReadSeeker) (m manifest, err error) {
	b, err := newBackupReader(r)
	if err != nil {
		return m, err
	}
	sum := sha256.New()
	whole := false
	for first := true; ; first = false {
		name, data, err := b.next()
		switch {
		case errors.Is(err, io.EOF) && whole:
			return m, nil
		case errors.Is(err, io.EOF) || err == nil && (whole || first != (name == manifestEntry)):
			return m, errBackup
		case err != nil:
			return m, err
		case first && json.Unmarshal(data, &m) != nil:
			return m, errBackup
		case first && m.Format != backupFormat:
			return m, fmt.Errorf("its format is %d, and this version knows %d", m.Format, backupFormat)
		case name == sumEntry:
			if strings.TrimSpace(string(data)) != hex.EncodeToString(sum.Sum(nil)) {
				return m, errBackup
			}
			whole = true
			continue
		}
		addSum(sum, name, data)
	}
}

// backedUp is one stream of a backup, whose pieces are read one by one.
type backedUp struct {
	streamSnapshot
	reader *backupReader
	prefix string
	// ahead is the entry that was read behind the last piece, if there was one.
	ahead *struct {
		name string
		data []byte
	}
}

// eachStream calls restore with every stream of a backup, which has to read all of it.
func eachStream(r io.ReadSeeker, restore func(stream string, s *backedUp) error) error {
	b, err := newBackupReader(r)
	if err != nil {
		return err
	}
	name, data, err := b.next()
	for err == nil {
		stream, isStream := strings.CutSuffix(strings.TrimPrefix(name, streamsFolder), "/"+streamEntry)
		if !isStream {
			name, data, err = b.next()
			continue
		}
		s := &backedUp{reader: b, prefix: streamsFolder + stream + "/"}
		if err := json.Unmarshal(data, &s.streamSnapshot); err != nil {
			return errBackup
		}
		if err := restore(stream, s); err != nil {
			return fmt.Errorf("stream %s: %w", stream, err)
		}
		if s.ahead == nil {
			return nil
		}
		name, data = s.ahead.name, s.ahead.data
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// next returns a piece, and io.EOF behind the last.
func (s *backedUp) next() ([]byte, error) {
	if s.ahead != nil {
		return nil, io.EOF
	}
	name, data, err := s.reader.next()
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(name, s.prefix) {
		s.ahead = &struct {
			name string
			data []byte
		}{name, data}
		return nil, io.EOF
	}
	return bytes.Clone(data), nil
}
