package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// ErrStoreDamaged means that files of JetStream are missing or have wrong contents. The message names the stream and
// the file. Nothing has been changed.
var ErrStoreDamaged = errors.New("store is damaged")

// ErrStoreForeign means that an entry of the JetStream directory is neither a stream nor a part of one. The message
// names its path. Nothing has been changed.
var ErrStoreForeign = errors.New("unexpected entry in the store")

// dataCheck checks the files of every stream before the NATS server opens them. It changes nothing, except that it
// removes streams and consumers whose creation or deletion was interrupted.
//
// The check is needed since nats-server loses data when it recovers damaged files. If the description of a stream is
// damaged, nats-server skips the stream with a warning, and a new stream of that name may then overwrite its data. If
// a message block has a bad record, nats-server drops it and everything after it.
type dataCheck struct {
	// lossy is true if a power failure may lose the last writes of all streams.
	lossy bool
	// expected maps the streams that must exist, and the consumers as STREAM/CONSUMER, to their creation times. nil if
	// they are not known.
	expected map[string]time.Time
	log      *slog.Logger
}

// damage is the damage of one file.
type damage struct {
	stream, path, what string
	cause              error // the system's error, nil if the contents are wrong
}

func (d *damage) Error() string {
	return fmt.Sprintf("%v: stream %s: %s: %s; restore the data directory from a backup",
		ErrStoreDamaged, d.stream, d.path, d.what)
}

func (d *damage) Unwrap() []error { return []error{ErrStoreDamaged, d.cause} }

// unreadable returns damage if a file is missing, and otherwise the system's error: a backup does not help against a
// missing permission.
func unreadable(stream, path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &damage{stream, path, "it is missing", fs.ErrNotExist}
	}
	return fmt.Errorf("stream %s: %w", stream, err)
}

// foreignError is an entry of the store that no NATS server made. With such an entry a NATS server never becomes
// ready: it waits for a stream of that name.
type foreignError struct {
	path, what string
}

func (e *foreignError) Error() string {
	return fmt.Sprintf("%v: %s is %s; move it out of the data directory", ErrStoreForeign, e.path, e.what)
}

func (e *foreignError) Unwrap() error { return ErrStoreForeign }

// checkData returns the first damage or foreign entry that it finds among the streams of the data directory. sync is
// Options.Sync. A node of a cluster need not have any stream: it gets one that is incomplete from the other nodes.
func checkData(ctx context.Context, d *Dir, sync time.Duration, node bool, log *slog.Logger) error {
	expected := make(map[string]time.Time)
	if !node {
		var err error
		if expected, err = d.embeddedStreams(); err != nil {
			return err
		}
	}
	streams, err := streamDirs(d.path)
	if err != nil {
		return err
	}
	c := &dataCheck{lossy: sync > 0, expected: expected, log: log}
	for _, s := range streams {
		if err := c.stream(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// stream checks the description, the consumers and the messages of a stream.
func (c *dataCheck) stream(ctx context.Context, s streamDir) error {
	meta, err := s.readMeta()
	if err != nil {
		return c.undescribed(s, err)
	}
	if err := c.consumers(s); err != nil {
		return err
	}
	if !meta.plainFiles || s.isPurging() {
		return nil
	}
	m := messageCheck{streamDir: s, lossy: c.lossy || meta.async, log: c.log}
	return m.run(ctx)
}

// undescribed removes a stream whose description can't be read, if no client can know of the stream. Otherwise it
// returns err or a foreignError.
func (c *dataCheck) undescribed(s streamDir, err error) error {
	empty, emptyErr := s.isEmpty()
	switch {
	case emptyErr != nil:
		return emptyErr
	case empty:
		// nats-server acknowledges a stream, and stores the first message, after it has written the description. With
		// this directory nats-server would stay unhealthy.
		c.log.Warn("remove an empty stream whose creation was interrupted", "stream", s.stream)
	case !s.isStream():
		return &foreignError{s.path, "not a stream"}
	case !c.isRemainder(s.path, s.stream):
		return err
	default:
		c.log.Info("remove a stream whose creation or deletion was interrupted", "stream", s.stream)
	}
	return os.RemoveAll(s.path)
}

// consumers checks the consumers of a stream. nats-server would skip a damaged consumer with a warning, and remove the
// messages that only this consumer has not acknowledged.
func (c *dataCheck) consumers(s streamDir) error {
	consumers, err := s.consumers()
	if err != nil {
		return err
	}
	for _, consumer := range consumers {
		if c.isRemainder(consumer.path, consumer.stream+"/"+consumer.consumer) {
			// nats-server would skip it, and write no checksum for the next consumer of that name.
			c.log.Info("remove a consumer whose creation or deletion was interrupted",
				"stream", consumer.stream, "consumer", consumer.consumer)
			err = os.RemoveAll(consumer.path)
		} else {
			err = consumer.check()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isRemainder reports whether dir is left of a stream, or of a consumer STREAM/CONSUMER, whose creation or deletion
// was interrupted: it has no complete description. If the stream or the consumer must exist, a missing description is
// damage.
func (c *dataCheck) isRemainder(dir, name string) bool {
	if _, required := c.expected[name]; required || c.expected == nil {
		return false
	}
	return !hasMeta(dir)
}

// check returns damage of the consumer. A consumer that has no state has delivered nothing, and its creation may not
// have been acknowledged.
func (c consumerDir) check() error {
	if ok, err := c.hasState(); err != nil || !ok {
		return err
	}
	return c.checkMeta()
}
