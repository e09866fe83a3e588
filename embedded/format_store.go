package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// The directories of JetStream (nats-server, server/filestore.go and EnableJetStream in server/jetstream.go):
//
//	jetstream/<account>/streams/
//	    <stream>/             the description, see format_meta.go
//	        msgs/             the messages, see format_block.go and format_index.go
//	        __msgs__/         present while a purge replaces msgs/
//	        __new_msgs__/     likewise
//	        obs/<consumer>/   a consumer, see format_consumer.go
//	    .<stream>/            a stream that is being deleted
const (
	storeName     = natsserver.JetStreamStoreDir
	streamsName   = "streams"
	messagesName  = "msgs"
	consumersName = "obs"
	deletedPrefix = "."
)

var purgeNames = []string{"__msgs__", "__new_msgs__"}

// streamDir is the directory of a stream.
type streamDir struct {
	stream string
	path   string
}

// consumerDir is the directory of a consumer.
type consumerDir struct {
	stream, consumer string
	path             string
}

// streamDirs returns the streams of all accounts in a data directory, without those that are being deleted. The error
// is a foreignError if an entry can't be an account or a stream.
func streamDirs(data string) ([]streamDir, error) {
	root := filepath.Join(data, storeName)
	accounts, err := subdirs(root)
	if err != nil {
		return nil, err
	}
	var found []streamDir
	for _, account := range accounts {
		parent := filepath.Join(root, account, streamsName)
		streams, err := subdirs(parent)
		if err != nil {
			return nil, err
		}
		for _, stream := range streams {
			if !strings.HasPrefix(stream, deletedPrefix) {
				found = append(found, streamDir{stream, filepath.Join(parent, stream)})
			}
		}
	}
	return found, nil
}

// consumers returns the consumers of the stream. The error is a foreignError if an entry can't be a consumer.
func (s streamDir) consumers() ([]consumerDir, error) {
	parent := filepath.Join(s.path, consumersName)
	consumers, err := subdirs(parent)
	if err != nil {
		return nil, err
	}
	found := make([]consumerDir, len(consumers))
	for i, consumer := range consumers {
		found[i] = consumerDir{s.stream, consumer, filepath.Join(parent, consumer)}
	}
	return found, nil
}

// isStream reports whether the directory has a file or a directory of a stream.
func (s streamDir) isStream() bool {
	for _, name := range []string{metaName, metaSumName, messagesName} {
		if !missing(filepath.Join(s.path, name)) {
			return true
		}
	}
	return false
}

// isEmpty reports whether no file of the stream except its description has any contents.
func (s streamDir) isEmpty() (bool, error) {
	empty := true
	err := filepath.WalkDir(s.path, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Dir(path) == s.path && isMeta(e.Name()) {
			return err
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

// isPurging reports whether a purge was interrupted. The NATS server then decides which of two sets of blocks is
// valid.
func (s streamDir) isPurging() bool {
	for _, name := range purgeNames {
		if _, err := os.Stat(filepath.Join(s.path, name)); err == nil {
			return true
		}
	}
	return false
}

// messages returns the path of the directory of the messages.
func (s streamDir) messages() string { return filepath.Join(s.path, messagesName) }

// subdirs returns the names in a directory, none if the directory does not exist. The error is a foreignError if an
// entry is not a directory.
func subdirs(path string) ([]string, error) {
	entries, err := readDir(path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		if !e.IsDir() {
			return nil, &foreignError{filepath.Join(path, e.Name()), "not a directory"}
		}
		names[i] = e.Name()
	}
	return names, nil
}

// readDir lists a directory. A missing directory has no entries.
func readDir(path string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("check the store: %w", err)
	}
	return entries, nil
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
