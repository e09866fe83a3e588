package embedded

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// ErrStoreDamaged: files under jetstream/ are missing or are not what the server
// wrote. The message names stream and file; nothing has been changed.
var ErrStoreDamaged = errors.New("store is damaged")

// ErrStoreForeign: an entry under jetstream/ is neither a stream nor a part of a stream. The message names its path.
// Nothing has been changed.
var ErrStoreForeign = errors.New("unexpected entry in the store")

// storeCheck looks at the files of every stream before the server does, and only
// reads. nats-server's own recovery is not gentle: a stream whose description is
// damaged is left out with a warning, and may then be made anew on top of its
// data; a message block with a bad record is cut off there, whatever follows.
//
// The files are those of nats-server 2.15 (server/filestore.go).
type storeCheck struct {
	root  string // the directory "jetstream"
	lossy bool   // writes are not forced to the disk one by one
	// expected maps the streams that must exist, and the consumers as STREAM/CONSUMER, to their creation times. nil if
	// they are not known.
	expected map[string]time.Time
	log      *slog.Logger
}

// damage is what was found in one file.
type damage struct {
	stream, path, what string
	cause              error // the system's error; nil if the file's contents are wrong
}

func (d *damage) Error() string {
	return fmt.Sprintf("%v: stream %s: %s: %s; restore the data directory from a backup",
		ErrStoreDamaged, d.stream, d.path, d.what)
}

func (d *damage) Unwrap() []error { return []error{ErrStoreDamaged, d.cause} }

// foreignError is an entry of the store that no NATS server made. With such an entry the NATS server never becomes ready:
// it waits for a stream of that name.
type foreignError struct {
	path, what string
}

func (e *foreignError) Error() string {
	return fmt.Sprintf("%v: %s is %s; move it out of the data directory", ErrStoreForeign, e.path, e.what)
}

func (e *foreignError) Unwrap() error { return ErrStoreForeign }

// onlyDirs returns a foreignError for the first entry that is not a directory. path is their parent.
func onlyDirs(path string, entries []fs.DirEntry) error {
	for _, e := range entries {
		if !e.IsDir() {
			return &foreignError{filepath.Join(path, e.Name()), "not a directory"}
		}
	}
	return nil
}

// checkStore returns the first damage it finds among the streams in the data directory. It completes deletions that were
// cut off.
func checkStore(ctx context.Context, d *Dir, sync time.Duration, log *slog.Logger) error {
	expected, err := d.embeddedStreams()
	if err != nil {
		return err
	}
	c := &storeCheck{root: d.Path(natsserver.JetStreamStoreDir), lossy: sync > 0, expected: expected, log: log}
	accounts, err := readDir(c.root)
	if err != nil {
		return err
	}
	if err := onlyDirs(c.root, accounts); err != nil {
		return err
	}
	for _, a := range accounts {
		streams := filepath.Join(c.root, a.Name(), "streams")
		entries, err := readDir(streams)
		if err == nil {
			err = onlyDirs(streams, entries)
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			// The dot marks a stream that was being deleted.
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if err := c.stream(ctx, filepath.Join(streams, e.Name()), e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// stream checks one stream: its description, its consumers, its messages.
func (c *storeCheck) stream(ctx context.Context, dir, name string) error {
	info, err := readStreamInfo(dir, name)
	if err != nil {
		unborn, ierr := neverConfirmed(dir)
		if ierr != nil {
			return ierr
		}
		if !unborn {
			if foreign := noStream(dir); foreign != nil {
				return foreign
			}
			if !c.isRemainder(dir, name) {
				return err
			}
			c.log.Info("remove a stream whose creation or deletion was cut off", "stream", name)
			return os.RemoveAll(dir)
		}
		// Left as it is, it would keep the server unhealthy for ever.
		c.log.Warn("remove a stream whose creation was interrupted before anybody was told of it", "stream", name)
		return os.RemoveAll(dir)
	}
	if err := c.consumers(dir, name); err != nil {
		return err
	}
	if !readable(dir, info) {
		return nil
	}
	m := messages{
		stream: name,
		dir:    filepath.Join(dir, messageDir),
		lossy:  c.lossy || info.PersistMode == natsserver.AsyncPersistMode,
		log:    c.log,
	}
	return m.check(ctx)
}

// isRemainder reports whether dir is left of a stream, or of a consumer STREAM/CONSUMER, whose creation or deletion was cut
// off. The NATS server writes the description after the first message block and the checksum last, and a deletion removes
// the description first. If the stream or the consumer must exist, a missing description is damage.
func (c *storeCheck) isRemainder(dir, name string) bool {
	if _, must := c.expected[name]; must || c.expected == nil {
		return false
	}
	missing := func(file string) bool {
		_, err := os.Lstat(filepath.Join(dir, file))
		return errors.Is(err, fs.ErrNotExist)
	}
	return missing(natsserver.JetStreamMetaFile) || missing(natsserver.JetStreamMetaFileSum)
}

// noStream returns a foreignError if dir has no file of a stream.
func noStream(dir string) error {
	for _, part := range []string{natsserver.JetStreamMetaFile, natsserver.JetStreamMetaFileSum, messageDir} {
		if _, err := os.Lstat(filepath.Join(dir, part)); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return &foreignError{dir, "not a stream"}
}

// readStreamInfo reads what a stream is, as nats-server would.
func readStreamInfo(dir, name string) (*natsserver.FileStreamInfo, error) {
	meta := filepath.Join(dir, natsserver.JetStreamMetaFile)
	b, err := os.ReadFile(meta)
	if err != nil {
		return nil, unreadable(name, meta, err)
	}
	sumFile := filepath.Join(dir, natsserver.JetStreamMetaFileSum)
	sum, err := os.ReadFile(sumFile)
	if err != nil {
		return nil, unreadable(name, sumFile, err)
	}
	h := newHash(name)
	h.Write(b)
	if hex.EncodeToString(h.Sum(nil)) != string(sum) {
		return nil, &damage{stream: name, path: meta, what: "it does not match its checksum in " + natsserver.JetStreamMetaFileSum}
	}
	if _, err := os.Stat(filepath.Join(dir, natsserver.JetStreamMetaFileKey)); err == nil {
		return nil, fmt.Errorf("stream %s is encrypted, and this server has no key for it", name)
	}
	info := new(natsserver.FileStreamInfo)
	if err := json.Unmarshal(b, info); err != nil {
		return nil, &damage{stream: name, path: meta, what: "it is no stream description"}
	}
	level, err := strconv.Atoi(info.Metadata[natsserver.JSRequiredLevelMetadataKey])
	if err == nil && level > natsserver.JSApiLevel {
		// The server would start, keep the stream shut and call itself healthy.
		return nil, fmt.Errorf("stream %s was written by a newer version: it needs JetStream level %d, this one has %d",
			name, level, natsserver.JSApiLevel)
	}
	return info, nil
}

// neverConfirmed reports whether a stream's directory holds nothing that anybody
// can have been told of: the description is written before the first message.
func neverConfirmed(dir string) (bool, error) {
	empty := true
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if name := e.Name(); filepath.Dir(path) == dir &&
			(strings.HasPrefix(name, natsserver.JetStreamMetaFile) || strings.HasPrefix(name, natsserver.JetStreamMetaFileSum)) {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		empty = empty && info.Size() == 0
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("check the store: %w", err)
	}
	return empty, nil
}

// readable tells whether the message blocks are the plain files that are checked here.
func readable(dir string, info *natsserver.FileStreamInfo) bool {
	if info.Storage != natsserver.FileStorage || info.Compression != natsserver.NoCompression {
		return false
	}
	// A purge was cut short: which of two sets of blocks counts is the server's to decide.
	for _, d := range []string{"__msgs__", "__new_msgs__"} {
		if _, err := os.Stat(filepath.Join(dir, d)); err == nil {
			return false
		}
	}
	return true
}

// consumers checks the files of a stream's consumers. The NATS server would skip a damaged consumer with a warning, and
// remove the messages that only this consumer has not acknowledged.
func (c *storeCheck) consumers(dir, stream string) error {
	consumers := filepath.Join(dir, "obs")
	entries, err := readDir(consumers)
	if err == nil {
		err = onlyDirs(consumers, entries)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		consumer := filepath.Join(consumers, e.Name())
		if c.isRemainder(consumer, stream+"/"+e.Name()) {
			// Left as it is, the NATS server would skip it, and write no checksum for the next consumer of that name.
			c.log.Info("remove a consumer whose creation or deletion was cut off", "stream", stream, "consumer", e.Name())
			err = os.RemoveAll(consumer)
		} else {
			err = checkConsumer(consumer, stream)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkConsumer checks the files of one consumer.
func checkConsumer(dir, stream string) error {
	state := filepath.Join(dir, "o.dat")
	b, err := os.ReadFile(state)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return nil // It has delivered nothing: it may not even have been confirmed.
	}
	if err != nil {
		return unreadable(stream, state, err)
	}
	// Two bytes, magic and version, then four numbers at least.
	if len(b) < 6 || b[0] != consumerMagic || b[1] < 1 || b[1] > 2 {
		return &damage{stream: stream, path: state, what: "it is no consumer's state"}
	}
	meta := filepath.Join(dir, natsserver.JetStreamMetaFile)
	b, err = os.ReadFile(meta)
	if err != nil {
		return unreadable(stream, meta, err)
	}
	if !json.Valid(b) {
		return &damage{stream: stream, path: meta, what: "it is no consumer's description"}
	}
	sum := filepath.Join(dir, natsserver.JetStreamMetaFileSum)
	if _, err := os.Stat(sum); err != nil {
		return unreadable(stream, sum, err)
	}
	return nil
}

const consumerMagic = 22

// unreadable is damage where a file is missing, and the system's error otherwise:
// a missing permission is nothing to restore a backup for.
func unreadable(stream, path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &damage{stream, path, "it is missing", fs.ErrNotExist}
	}
	return fmt.Errorf("stream %s: %w", stream, err)
}

// readDir lists a directory; one that is not there has nothing in it.
func readDir(path string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("check the store: %w", err)
	}
	return entries, nil
}
