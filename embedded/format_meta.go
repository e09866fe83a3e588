package embedded

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// The description of a stream or of a consumer (nats-server, server/filestore.go, writeStreamMeta and
// writeConsumerMeta):
//
//	meta.inf   JSON
//	meta.sum   the checksum of meta.inf in hex digits, keyed by <stream> or <stream>/<consumer>
//	meta.key   present if the files are encrypted
//
// When nats-server creates a stream it writes the first message block, then meta.inf, then meta.sum. When it deletes a
// stream it removes meta.inf first.
const (
	metaName    = natsserver.JetStreamMetaFile
	metaSumName = natsserver.JetStreamMetaFileSum
	metaKeyName = natsserver.JetStreamMetaFileKey
)

// streamMeta is what the data check needs of a stream's description.
type streamMeta struct {
	plainFiles bool // the messages are in files and not compressed
	async      bool // the NATS server acknowledges messages before they are on the disk
}

// isMeta reports whether name is a file of a description, or a temporary file of one.
func isMeta(name string) bool {
	return strings.HasPrefix(name, metaName) || strings.HasPrefix(name, metaSumName)
}

// hasMeta reports whether dir, of a stream or of a consumer, has a description and its checksum.
func hasMeta(dir string) bool {
	return !missing(filepath.Join(dir, metaName)) && !missing(filepath.Join(dir, metaSumName))
}

// readMeta reads the description of the stream. The error is damage, or says that this NATS server can't open the
// stream: it is encrypted or of a newer version.
func (s streamDir) readMeta() (streamMeta, error) {
	path := filepath.Join(s.path, metaName)
	b, err := os.ReadFile(path)
	if err != nil {
		return streamMeta{}, unreadable(s.stream, path, err)
	}
	sumPath := filepath.Join(s.path, metaSumName)
	sum, err := os.ReadFile(sumPath)
	if err != nil {
		return streamMeta{}, unreadable(s.stream, sumPath, err)
	}
	if metaSum(s.stream, b) != string(sum) {
		return streamMeta{}, &damage{stream: s.stream, path: path, what: "it does not match its checksum in " + metaSumName}
	}
	if _, err := os.Stat(filepath.Join(s.path, metaKeyName)); err == nil {
		return streamMeta{}, fmt.Errorf("stream %s is encrypted, and this server has no key for it", s.stream)
	}
	var info natsserver.FileStreamInfo
	if err := json.Unmarshal(b, &info); err != nil {
		return streamMeta{}, &damage{stream: s.stream, path: path, what: "it is not a stream description"}
	}
	level, err := strconv.Atoi(info.Metadata[natsserver.JSRequiredLevelMetadataKey])
	if err == nil && level > natsserver.JSApiLevel {
		// nats-server would start, keep the stream closed and report that it is healthy.
		return streamMeta{}, fmt.Errorf("stream %s was written by a newer version: it needs JetStream level %d, this version has level %d",
			s.stream, level, natsserver.JSApiLevel)
	}
	return streamMeta{
		plainFiles: info.Storage == natsserver.FileStorage && info.Compression == natsserver.NoCompression,
		async:      info.PersistMode == natsserver.AsyncPersistMode,
	}, nil
}

// metaSum returns the contents of meta.sum for a description. key is the key of the checksum.
func metaSum(key string, meta []byte) string {
	h := newChecksum(key)
	h.Write(meta)
	return hex.EncodeToString(h.Sum(nil))
}

// checkMeta returns damage if the description of the consumer is not JSON or a file of it is missing.
func (c consumerDir) checkMeta() error {
	path := filepath.Join(c.path, metaName)
	b, err := os.ReadFile(path)
	if err != nil {
		return unreadable(c.stream, path, err)
	}
	if !json.Valid(b) {
		return &damage{stream: c.stream, path: path, what: "it is not a consumer description"}
	}
	sumPath := filepath.Join(c.path, metaSumName)
	if _, err := os.Stat(sumPath); err != nil {
		return unreadable(c.stream, sumPath, err)
	}
	return nil
}
