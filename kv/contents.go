package kv

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Contents counts the records of a set of buckets.
type Contents struct {
	Users   int               // accounts
	Records int               // all keys, without delete markers
	sum     [sha256.Size]byte // of the records, in any order
}

// add counts a record and adds it to the sum, which does not depend on the order of the records.
func (c *Contents) add(e entry) {
	h := sha256.New()
	fmt.Fprintf(h, "%d\x00%s\x00", len(e.key), e.key)
	h.Write(e.value)
	for i, b := range h.Sum(nil) {
		c.sum[i] ^= b
	}
	c.Records++
	if strings.HasPrefix(e.key, userKey("")) {
		c.Users++
	}
}

// Inspect reads every record of the buckets in use and counts them. A damaged record is an error. Inspect also empties
// the list of nodes: it serves the restore of a backup, and none of the backup's nodes is running.
func Inspect(ctx context.Context, nc *nats.Conn, prefix string) (Contents, error) {
	var all Contents
	s, err := openSource(ctx, nc, prefix)
	if err != nil {
		return all, err
	}
	if err := s.users.purge(ctx, nodePrefix+">", 0); err != nil {
		return all, fmt.Errorf("kv: %w", err)
	}
	for _, b := range []*bucket{s.users, s.rosters} {
		_, err := s.walk(ctx, b, func(e entry) error { all.add(e); return nil })
		if err != nil {
			return all, fmt.Errorf("kv: inspect %s: %w", b.stream(), err)
		}
	}
	return all, nil
}

// source is a set of buckets that a restore reads from.
type source struct {
	users, rosters *bucket
	state          State
}

func openSource(ctx context.Context, nc *nats.Conn, prefix string) (*source, error) {
	in, err := findInUse(ctx, nc, prefix)
	if err != nil {
		return nil, err
	}
	return &source{newBucket(in.js, in.names.users, 1), newBucket(in.js, in.names.friendships, 1), in.state}, nil
}

// carried reports whether a restore copies a record. It does not copy the list of nodes, which belongs to other
// processes, codes for forgotten passwords, which live for minutes, or the padding of an upgrade.
func carried(key string) bool {
	return !strings.HasPrefix(key, nodePrefix) && !strings.HasPrefix(key, resetKey("")) && !strings.HasPrefix(key, fillKey)
}

// walk calls do with every record of a bucket that a restore copies, in the order of writing. A record that can't be
// decoded is an error. walk returns the last revision.
func (s *source) walk(ctx context.Context, b *bucket, do func(entry) error) (last uint64, err error) {
	return last, b.each(ctx, 0, func(e entry) error {
		last = e.revision
		if e.deleted || !carried(e.key) {
			return nil
		}
		if err := s.decodes(b, e); err != nil {
			return err
		}
		return do(e)
	})
}

func (s *source) decodes(b *bucket, e entry) error {
	var err error
	switch {
	case b == s.rosters:
		err = json.Unmarshal(e.value, new(Roster))
	case strings.HasPrefix(e.key, userKey("")):
		err = json.Unmarshal(e.value, new(User))
	}
	if err != nil { // the decoder's error is left out: it may quote the record
		return fmt.Errorf("the record at %s, revision %d, is damaged", e.key, e.revision)
	}
	return nil
}

const (
	// eachPage is how many records are requested at once.
	eachPage = 4096
	// eachWait bounds the wait for the next record. A replica that lags waits for its leader.
	eachWait = 30 * time.Second
)

// each calls do with every record and delete marker, in the order of writing. It reads through a consumer, since pages
// of direct gets cost more the more records there are. A replica may lag: each does not return before it has read the
// record at revision until; 0 waits for none.
func (b *bucket) each(ctx context.Context, until uint64, do func(entry) error) (err error) {
	failed := func(err error) error { return fmt.Errorf("read from %s: %w", b.stream(), err) }
	stream, err := b.js.Stream(ctx, b.stream())
	if err != nil {
		return failed(err)
	}
	if stream.CachedInfo().State.Msgs == 0 {
		return nil
	}
	consumer, err := b.js.OrderedConsumer(ctx, b.stream(), jetstream.OrderedConsumerConfig{InactiveThreshold: eachWait})
	if err != nil {
		return failed(err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(eachPage))
	if err != nil {
		return failed(err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextMaxWait(eachWait))
		if err != nil {
			return failed(err)
		}
		if err := ctx.Err(); err != nil {
			return failed(err)
		}
		meta, err := m.Metadata()
		if err != nil || len(m.Subject()) <= len(b.prefix()) {
			return failed(errors.Join(err, fmt.Errorf("a message on %s is no record", m.Subject())))
		}
		if err := do(entry{key: m.Subject()[len(b.prefix()):], value: m.Data(), revision: meta.Sequence.Stream, deleted: isMarker(m.Headers()), written: meta.Timestamp}); err != nil {
			return err
		}
		if meta.NumPending == 0 && meta.Sequence.Stream >= until {
			return nil
		}
	}
}
