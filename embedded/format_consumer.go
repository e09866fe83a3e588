package embedded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// The state of a consumer, o.dat (nats-server, server/store.go, encodeConsumerState, and server/filestore.go,
// decodeConsumerState):
//
//	magic number     1 byte
//	version          1 byte
//	four or more numbers: acknowledged and delivered messages, each 1 byte or longer
const (
	stateName       = "o.dat"
	stateMagic      = 22
	stateMinVersion = 1
	stateMaxVersion = 2
	stateMinSize    = 6
)

// hasState reports whether the consumer has a state. A consumer without one has delivered nothing. The error is damage
// if the file is not a state.
func (c consumerDir) hasState() (bool, error) {
	path := filepath.Join(c.path, stateName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return false, nil
	}
	if err != nil {
		return false, unreadable(c.stream, path, err)
	}
	if len(b) < stateMinSize || b[0] != stateMagic || b[1] < stateMinVersion || b[1] > stateMaxVersion {
		return false, &damage{stream: c.stream, path: path, what: "it is not a consumer state"}
	}
	return true, nil
}
