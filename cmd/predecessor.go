package cmd

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"

	"imctl/embedded"
	"imctl/embedded/privatefile"
	"imctl/kv"
)

// nodeFile is the file in the data directory with the id of the node that uses the directory.
const nodeFile = "node.json"

// runningNode is what nodeFile has. A process that has locked the data directory knows that the node in the file has
// ended, unless the file is a copy that was made on another machine, or before the machine was started.
type runningNode struct {
	ID   string `json:"id"`
	Boot string `json:"boot"` // differs from that of all other machines, and of all other starts of this one
}

// newNode returns an id for a node, and notes it in the locked data directory. ended is the id of the node that used the
// directory before and was not shut down gracefully, "" if there is none or it is not certain to have ended. Other nodes
// need not wait for that node. boot is the id of this start of the machine.
func newNode(dir *embedded.Dir, boot string, log *slog.Logger) (id, ended string) {
	id = kv.NewID()[:16]
	if boot == "" {
		return id, ""
	}
	var before runningNode
	data, err := os.ReadFile(dir.Path(nodeFile))
	if err == nil && json.Unmarshal(data, &before) == nil && before.Boot == boot {
		ended = before.ID
	}
	if data, err = json.Marshal(runningNode{ID: id, Boot: boot}); err == nil {
		err = privatefile.Write(dir.Path(nodeFile), append(data, '\n'))
	}
	if err != nil { // a full disk does not stop a start; the file has the node before, which has ended
		log.Warn("cannot note the id of this node; after a crash the next start waits for it", "err", err)
	}
	return id, ended
}

// bootID returns an id of this start of the machine, "" if the system has none.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id") // Linux
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
