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
//	manifest.json                   the manifest
//	files/admin.json, files/tls/…   files of the data directory, if it was on the same machine
//	streams/NAME/stream.json        configuration and state of a stream
//	streams/NAME/00000001, …        the pieces of its snapshot
//	sha256                          checksum of the names and contents of all entries before it

const (
	backupFormat  = 1
	manifestEntry = "manifest.json"
	sumEntry      = "sha256"
	filesFolder   = "files/"
	streamsFolder = "streams/"
	streamEntry   = "stream.json"

	// maxBackupEntry limits the entries that are read into memory, in bytes. The pieces of a snapshot are smaller.
	maxBackupEntry = 16 << 20
)

// manifest describes a backup.
type manifest struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Version string    `json:"version"` // version of imctl
	Prefix  string    `json:"prefix"`
	Streams []string  `json:"streams"`
	// Accounts is the number of accounts. Older versions do not write it.
	Accounts *int `json:"accounts,omitempty"`
}

// errBackup means that a file is not a backup, or is truncated or damaged.
var errBackup = errors.New("not a backup, or damaged")

// backupWriter writes a backup.
type backupWriter struct {
	tar     *tar.Writer
	sum     hash.Hash
	created time.Time
}

func newBackupWriter(w io.Writer, created time.Time) *backupWriter {
	return &backupWriter{tar.NewWriter(w), sha256.New(), created}
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
	err := b.tar.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(data)), ModTime: b.created})
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

// addSum adds an entry to the checksum. The size separates the name from the contents.
func addSum(h hash.Hash, name string, data []byte) {
	fmt.Fprintf(h, "%s\x00%d\x00", name, len(data))
	h.Write(data)
}

// backupReader reads the entries of a backup.
type backupReader struct{ tar *tar.Reader }

func newBackupReader(r io.ReadSeeker) (*backupReader, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return &backupReader{tar.NewReader(r)}, nil
}

// eachEntry calls do for the entries of a backup, in order, until the last one or an error.
func eachEntry(r io.ReadSeeker, do func(name string, data []byte) error) error {
	b, err := newBackupReader(r)
	if err != nil {
		return err
	}
	for {
		name, data, err := b.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(name, data); err != nil {
			return err
		}
	}
}

// next returns the next entry, or io.EOF after the last one.
func (b *backupReader) next() (name string, data []byte, err error) {
	h, err := b.tar.Next()
	if errors.Is(err, io.EOF) {
		return "", nil, err
	}
	if err != nil || h.Typeflag != tar.TypeReg || h.Size > maxBackupEntry {
		return "", nil, errBackup
	}
	if data, err = io.ReadAll(b.tar); err != nil {
		return "", nil, errBackup
	}
	return h.Name, data, nil
}

// checkBackup reads a whole backup, verifies its checksum, and returns its manifest. It calls visit, if that is not nil,
// with each entry except the manifest and the checksum. An error of visit ends the check and is returned.
func checkBackup(r io.ReadSeeker, visit func(name string, data []byte) error) (m manifest, err error) {
	b, err := newBackupReader(r)
	if err != nil {
		return m, err
	}
	sum := sha256.New()
	complete := false
	for first := true; ; first = false {
		name, data, err := b.next()
		switch {
		case errors.Is(err, io.EOF) && complete:
			if _, err := io.Copy(io.Discard, r); err != nil { // the end of an encrypted backup has its own checksum
				return m, errBackup
			}
			return m, nil
		case errors.Is(err, io.EOF) || err == nil && (complete || first != (name == manifestEntry)):
			return m, errBackup
		case err != nil:
			return m, err
		case first && json.Unmarshal(data, &m) != nil:
			return m, errBackup
		case first && m.Format != backupFormat:
			return m, fmt.Errorf("backup format %d is not supported; this version of imctl reads format %d", m.Format, backupFormat)
		case name == sumEntry:
			if strings.TrimSpace(string(data)) != hex.EncodeToString(sum.Sum(nil)) {
				return m, errBackup
			}
			complete = true
			continue
		case !first && visit != nil:
			if err := visit(name, data); err != nil {
				return m, err
			}
		}
		addSum(sum, name, data)
	}
}

// backedUpStream is one stream of a backup. Its pieces are read one by one.
type backedUpStream struct {
	streamSnapshot
	reader *backupReader
	prefix string
	// ahead is the entry after the last piece. It is nil until next has read it, and if there is none.
	ahead *struct {
		name string
		data []byte
	}
}

// eachStream calls restore for each stream of a backup. restore must read all pieces of the stream.
func eachStream(r io.ReadSeeker, restore func(stream string, s *backedUpStream) error) error {
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
		s := &backedUpStream{reader: b, prefix: streamsFolder + stream + "/"}
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

// next returns the next piece, or io.EOF after the last one.
func (s *backedUpStream) next() ([]byte, error) {
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
