package kv

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Contents counts the records of a set of buckets.
type Contents struct {
	Users   int               // accounts
	Records int               // all keys except deleted ones
	sum     [sha256.Size]byte // of the records; does not depend on their order
}

// add counts a record and adds it to the sum.
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

// Inspect reads and counts all records of the buckets in use. It fails if a record is damaged. Inspect also empties
// the list of nodes: it serves the restore of a backup, and none of the backup's nodes is running.
//
// Errors: ErrNoState.
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
		err := s.records(ctx, b, func(e entry) error { all.add(e); return nil })
		if err != nil {
			return all, fmt.Errorf("kv: inspect %s: %w", b.stream(), err)
		}
	}
	return all, nil
}

// source is the set of buckets that a restore reads from.
type source struct {
	users, rosters *bucket
	state          State
}

// openSource finds the buckets in use. Errors: ErrNoState.
func openSource(ctx context.Context, nc *nats.Conn, prefix string) (*source, error) {
	in, err := findInUse(ctx, nc, prefix)
	if err != nil {
		return nil, err
	}
	return &source{newBucket(in.js, in.names.Users, 1), newBucket(in.js, in.names.Friendships, 1), in.state}, nil
}

// copied reports whether a restore copies a key. It does not copy the list of nodes, which belongs to other
// processes, codes for forgotten passwords, which live for minutes, subscriptions to push messages, which belong to sign-ins as tokens
// do, what sign-ins that are under way have used, claims of gateways, or the padding of an upgrade.
func copied(key string) bool {
	return !strings.HasPrefix(key, sealPrefix) && !strings.HasPrefix(key, spentPrefix) && !strings.HasPrefix(key, gatewayPrefix) && !strings.HasPrefix(key, nodePrefix) && !strings.HasPrefix(key, resetKey("")) && !strings.HasPrefix(key, pushPrefix) && !strings.HasPrefix(key, paddingPrefix)
}

// records calls do with all records of a bucket that a restore copies, in the order of writing. It fails if a record is
// damaged.
func (s *source) records(ctx context.Context, b *bucket, do func(entry) error) error {
	return b.pages(ctx, 0, func(entries []entry) error {
		for _, e := range entries {
			if e.deleted || !copied(e.key) {
				continue
			}
			if err := s.checkRecord(b, e); err != nil {
				return err
			}
			if err := do(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkRecord fails if a record cannot be decoded.
func (s *source) checkRecord(b *bucket, e entry) error {
	var err error
	switch {
	case b == s.rosters && strings.HasPrefix(e.key, cursorsPrefix):
		_, err = decodeCursors(e.value)
	case b == s.rosters:
		err = json.Unmarshal(e.value, new(Roster))
	case strings.HasPrefix(e.key, userKey("")):
		err = json.Unmarshal(e.value, new(User))
	case strings.HasPrefix(e.key, inviteKey("")):
		err = json.Unmarshal(e.value, new(inviteRecord))
	case strings.HasPrefix(e.key, reportPrefix):
		err = json.Unmarshal(e.value, new(Report))
	case strings.HasPrefix(e.key, vapidPrefix):
		err = json.Unmarshal(e.value, new(PushKeys))
	}
	if err != nil {
		return damaged(e)
	}
	return nil
}

// damaged returns the error for a record that cannot be decoded. It leaves out the decoder's error, which may quote the
// record.
func damaged(e entry) error {
	return fmt.Errorf("the record at %s, revision %d, is damaged", e.key, e.revision)
}
