package embedded

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
)

// A snapshot of a stream is compressed with S2. NATS servers since 2.15 write an archive of messages (nats-server,
// server/stream_backup.go): state.json, consumers/<consumer>, a message after the other with its sequence, and at the
// end an entry without a name. They verify the checksum of each message that they read. Older servers, and backups of
// them, have a tar file instead (server/filestore.go, streamSnapshot): meta.inf and meta.sum, msgs/<number>.blk,
// msgs/index.db, and obs/<consumer>/. Its blocks are neither encrypted nor compressed.
const (
	snapshotState    = "state.json"
	snapshotMessages = "msgs/"
	snapshotErrors   = "errors.inf"

	// maxSnapshotFile limits the files that are read into memory, in bytes. The largest block of nats-server has 16 MiB
	// and one message more.
	maxSnapshotFile = 64 << 20
)

// ErrSnapshotDamaged means that the snapshot of a stream is truncated or has wrong contents.
var ErrSnapshotDamaged = errors.New("the snapshot is damaged")

// CheckSnapshot reads the snapshot of a stream to its end, and checks that it is complete. It verifies the checksums of
// the compressed blocks, and those of the messages if the snapshot has them. It needs memory for one block of messages.
//
// Errors: ErrSnapshotDamaged, and those of r.
func CheckSnapshot(stream string, r io.Reader) error {
	source := &failingReader{r: r}
	err := checkSnapshot(stream, source)
	switch {
	case source.err != nil:
		return source.err
	case err != nil:
		return fmt.Errorf("%w: %w", ErrSnapshotDamaged, err)
	}
	return nil
}

// failingReader remembers the error of its reader, unless that is io.EOF.
type failingReader struct {
	r   io.Reader
	err error
}

func (f *failingReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

func checkSnapshot(stream string, r io.Reader) error {
	plain := bufio.NewReader(s2.NewReader(r)) // verifies a checksum of each of its blocks
	intro, err := plain.Peek(len(archive.MagicBytes))
	if err != nil {
		return err
	}
	if string(intro) == archive.MagicBytes {
		err = checkArchive(plain)
	} else {
		err = checkTar(stream, plain)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, plain)
	}
	return err
}

// checkArchive checks a snapshot of a NATS server since 2.15.
func checkArchive(r io.Reader) error {
	entries := archive.NewReader(r)
	var last uint64
	first, ended := true, false
	for {
		h, err := entries.Next()
		switch {
		case errors.Is(err, io.EOF) && ended:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("it has no end")
		case err != nil:
			return err
		case ended:
			return errors.New("an entry follows the end")
		case first && h.Name != snapshotState:
			return errors.New("it has no state")
		case h.Sequence != 0 && h.Sequence <= last:
			return fmt.Errorf("message %d follows message %d", h.Sequence, last)
		}
		first, ended, last = false, h.Name == "", max(last, h.Sequence)
		if _, err := io.Copy(io.Discard, entries); err != nil {
			return err
		}
	}
}

// checkTar checks a snapshot of an older NATS server.
func checkTar(stream string, r io.Reader) error {
	files := tar.NewReader(r)
	described := false
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if h.Size > maxSnapshotFile {
			return fmt.Errorf("%s is too large", h.Name)
		}
		data, err := io.ReadAll(files)
		if err != nil {
			return err
		}
		if err := checkSnapshotFile(stream, h.Name, data); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		described = described || h.Name == metaSumName
	}
	if !described {
		return errors.New("it has no description")
	}
	return nil
}

// checkSnapshotFile checks one file of a snapshot of an older NATS server.
func checkSnapshotFile(stream, name string, data []byte) error {
	folder, base := path.Split(name)
	switch {
	case name == snapshotErrors:
		return errors.New("the NATS server could not read the stream")
	case base == metaName && !json.Valid(data):
		return errors.New("it is not a description")
	case folder == snapshotMessages && strings.HasSuffix(base, blockSuffix):
		index, err := strconv.ParseUint(strings.TrimSuffix(base, blockSuffix), 10, 32)
		if err != nil {
			return err
		}
		scan := scanRecords(data, newChecksum(fmt.Sprintf("%s-%d", stream, index)))
		if scan.badAt >= 0 {
			return fmt.Errorf("bad record at byte %d", scan.badAt)
		}
	}
	return nil
}
