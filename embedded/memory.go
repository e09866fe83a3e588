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

// memoryFile lists the streams and consumers that must exist. It is kept outside the streams, since a store can't tell
// which of its streams is missing.
const memoryFile = "streams.json"

// memory is the contents of memoryFile. It maps each owner to the names and creation times of its streams and consumers.
type memory map[string]map[string]time.Time

// Streams returns the streams that were last passed to RememberStreams for this owner, nil if there are none.
func (d *Dir) Streams(owner string) (map[string]time.Time, error) {
	d.remembering.Lock()
	defer d.remembering.Unlock()
	m, err := d.memory()
	return m[owner], err
}

// RememberStreams stores which streams of an owner must exist, with their creation times. An owner is one set of
// streams, see EmbeddedOwner. Unchanged streams are not written.
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

// EmbeddedOwner returns the owner of the streams of one prefix in the embedded server.
func EmbeddedOwner(prefix string) string { return embeddedOwner + prefix }

const embeddedOwner = "embedded/"

// embeddedStreams returns the remembered streams of all prefixes in the embedded server, nil if there are none.
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

// ForgetStreams forgets the streams of all owners. Call it before other streams replace them.
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
		return nil, fmt.Errorf("data directory: %s is damaged: restore a backup, or remove the file if all streams exist: %w", d.Path(memoryFile), err)
	}
	return m, nil
}
