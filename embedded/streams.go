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

// requiredFile lists the streams and consumers that must exist. It is not in a stream, since the stream may be missing
// too.
const requiredFile = "streams.json"

// requiredStreams is the contents of requiredFile. It maps each owner to the names and creation times of its streams
// and consumers.
type requiredStreams map[string]map[string]time.Time

// Streams returns the streams of the last RememberStreams for this owner, nil if there are none.
func (d *Dir) Streams(owner string) (map[string]time.Time, error) {
	d.requiredMu.Lock()
	defer d.requiredMu.Unlock()
	m, err := d.readRequired()
	return m[owner], err
}

// RememberStreams stores which streams and consumers of an owner must exist, with their creation times. An owner is
// one set of streams, see EmbeddedOwner. RememberStreams does not write if nothing has changed.
func (d *Dir) RememberStreams(owner string, streams map[string]time.Time) error {
	d.requiredMu.Lock()
	defer d.requiredMu.Unlock()
	m, err := d.readRequired()
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
	return d.writeFile(requiredFile, append(b, '\n'))
}

// EmbeddedOwner returns the owner of the streams of one prefix in the embedded server.
func EmbeddedOwner(prefix string) string { return embeddedOwner + prefix }

const embeddedOwner = "embedded/"

// embeddedStreams returns the streams of all prefixes in the embedded server that must exist, nil if none are stored.
func (d *Dir) embeddedStreams() (map[string]time.Time, error) {
	d.requiredMu.Lock()
	defer d.requiredMu.Unlock()
	m, err := d.readRequired()
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

// ForgetStreams removes the list of all owners. Call it before other streams replace them.
func (d *Dir) ForgetStreams() error {
	err := os.Remove(d.Path(requiredFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d.explain("remove "+requiredFile, err)
	}
	return nil
}

// readRequired reads requiredFile. It is called with d.requiredMu held.
func (d *Dir) readRequired() (requiredStreams, error) {
	m := make(requiredStreams)
	b, err := os.ReadFile(d.Path(requiredFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, d.explain("read "+requiredFile, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("data directory: %s is damaged: restore a backup, or remove the file if all streams exist: %w", d.Path(requiredFile), err)
	}
	return m, nil
}
