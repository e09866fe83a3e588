package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
	"time"
)

// memoryFile keeps what the data directory knows of the streams that belong to it, beside the streams themselves: a
// store from which something is missing cannot tell that it is missing.
const memoryFile = "streams.json"

// memory is the contents of memoryFile: for each owner of streams their names with the times of creation.
type memory map[string]map[string]time.Time

// Streams returns the streams that RememberStreams was given last for this owner, nil if there were none.
func (d *Dir) Streams(owner string) (map[string]time.Time, error) {
	d.remembering.Lock()
	defer d.remembering.Unlock()
	m, err := d.memory()
	return m[owner], err
}

// RememberStreams keeps which streams of an owner must exist, each with the time of its creation. An owner is one set
// of streams, see EmbeddedOwner. It writes only what changed.
func (d *Dir) RememberStreams(owner string, streams map[string]time.Time) error {
	d.remembering.Lock()
	defer d.remembering.Unlock()
	m, err := d.memory()
	if err != nil {
		return err
	}
	if maps.EqualFunc(m[owner], streams, time.Time.Equal) {
		return nil
	}
	m[owner] = streams
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("data directory %s: %w", d.path, err)
	}
	return d.writeFile(memoryFile, append(b, '\n'))
}

// EmbeddedOwner names the owner of the streams of one prefix in the embedded server.
func EmbeddedOwner(prefix string) string { return embeddedOwner + prefix }

const embeddedOwner = "embedded/"

// embeddedStreams are the streams of all prefixes in the embedded server, nil where none are remembered.
func (d *Dir) embeddedStreams() (map[string]time.Time, error) {
	d.remembering.Lock()
	defer d.remembering.Unlock()
	m, err := d.memory()
	if err != nil {
		return nil, err
	}
	var all map[string]time.Time
	for owner, streams := range m {
		if !strings.HasPrefix(owner, embeddedOwner) {
			continue
		}
		if all == nil {
			all = make(map[string]time.Time)
		}
		maps.Copy(all, streams)
	}
	return all, nil
}

// ForgetStreams forgets the streams of all owners: others take their place.
func (d *Dir) ForgetStreams() error {
	err := os.Remove(d.Path(memoryFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d.explain("remove "+memoryFile, err)
	}
	return nil
}

func (d *Dir) memory() (memory, error) {
	m := make(memory)
	b, err := os.ReadFile(d.Path(memoryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, d.explain("read "+memoryFile, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("data directory: %s is damaged; restore it from a backup, or remove it if all streams are there: %w", d.Path(memoryFile), err)
	}
	return m, nil
}
