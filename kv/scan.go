package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natsext"
)

// A client's call reads many keys by direct gets with several answers, and never by a consumer, which costs a hundred
// times as much. This file sends the requests itself: GetBatch and GetLastMsgsFor of jetstreamext end without an
// error, as if they had read everything, when their time runs out, and they do not tell too many matches from a
// server that is too old.

// errTooMany: more keys match than the server returns for one request for the last message of each.
var errTooMany = errors.New("too many keys match")

// listPageKeys is how many keys list requests at once.
const listPageKeys = 256

// page is a part of a bucket, in the order of writing.
type page struct {
	entries []entry
	pending int // number of requested keys after this page; from nextKeys and finder.step, 1 means that there may be any
}

// last returns the revision after which the next page begins.
func (p page) last() uint64 {
	if len(p.entries) == 0 {
		return 0
	}
	return p.entries[len(p.entries)-1].revision
}

// list returns all keys that match filter and are not deleted, in the order of writing. A key that is written
// meanwhile may occur twice. After an error the sequence ends.
func (b *bucket) list(ctx context.Context, filter string) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for after := uint64(0); ; {
			p, err := b.nextPage(ctx, filter, after, listPageKeys)
			if err != nil {
				yield(entry{}, err)
				return
			}
			for _, e := range p.entries {
				if !e.deleted && !yield(e, nil) {
					return
				}
			}
			if p.pending == 0 || len(p.entries) == 0 {
				return
			}
			after = p.last()
		}
	}
}

// nextKey returns the first key that matches filter and was written after the given revision. If very many keys
// match, a few calls cost less than one page, for which the server counts all keys that are left: 100,000 matches
// made 50 keys cost 20 ms this way and 35 ms as a page; 1,000 matches 1 ms and 10 ms. Errors: errKeyNotFound.
func (b *bucket) nextKey(ctx context.Context, filter string, after uint64) (entry, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	body, err := json.Marshal(map[string]any{"next_by_subj": b.prefix() + filter, "seq": after + 1})
	if err != nil {
		return entry{}, err
	}
	return b.getDirect(ctx, b.directAPI(), body)
}

// nextKeys returns the next n keys of any name that were written after the given revision. It reads them one by one.
// One request for all of them costs more the more keys there are, except at the beginning of the stream, as soon as
// any key was overwritten, since the server counts all keys that are left: 140 ms among a million accounts.
func (b *bucket) nextKeys(ctx context.Context, after uint64, n int) (page, error) {
	var p page
	if after == 0 { // here a filter would make the server count, too
		first, err := b.requestMany(ctx, map[string]any{"seq": 1, "batch": 1})
		if err != nil || len(first.entries) == 0 {
			return first, err
		}
		p.entries, after = first.entries, first.last()
	}
	for len(p.entries) < n {
		e, err := b.nextKey(ctx, ">", after)
		if errors.Is(err, errKeyNotFound) {
			return p, nil
		}
		if err != nil {
			return page{}, err
		}
		p.entries, after = append(p.entries, e), e.revision
	}
	p.pending = 1
	return p, nil
}

// nextPage returns up to n keys that match filter and were written after the given revision.
func (b *bucket) nextPage(ctx context.Context, filter string, after uint64, n int) (page, error) {
	return b.requestMany(ctx, map[string]any{"next_by_subj": b.prefix() + filter, "seq": after + 1, "batch": n})
}

// firstPage returns the first n keys that match filter. The server looks them up in the stream's index and does not
// scan its messages. Errors: errTooMany.
func (b *bucket) firstPage(ctx context.Context, filter string, n int) (page, error) {
	return b.requestMany(ctx, map[string]any{"multi_last": []string{b.prefix() + filter}, "batch": n})
}

// requestMany sends a direct get with several answers. Errors: errTooMany.
func (b *bucket) requestMany(ctx context.Context, request map[string]any) (page, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return page{}, err
	}
	var p page
	// Any replica answers. The first answer may take long, until the server has loaded its index.
	err = b.repeatFor(ctx, requestTimeout, func(ctx context.Context) (err error) {
		p, err = b.requestPage(ctx, body)
		return err
	})
	if err != nil && !errors.Is(err, errTooMany) {
		err = fmt.Errorf("read from %s: %w", b.stream(), err)
	}
	return p, err
}

// requestPage is one attempt of requestMany.
func (b *bucket) requestPage(ctx context.Context, body []byte) (page, error) {
	var end *nats.Msg
	answers, err := natsext.RequestMany(ctx, b.nc, b.directAPI(), body,
		natsext.RequestManySentinel(func(m *nats.Msg) bool {
			if len(m.Data) != 0 || m.Header.Get("Status") == "" {
				return false
			}
			end = m
			return true
		}))
	if err != nil {
		return page{}, err
	}
	var p page
	for msg, err := range answers {
		if err != nil {
			return page{}, err
		}
		e, err := b.decodeDirect(msg)
		if err != nil {
			return page{}, err
		}
		p.entries = append(p.entries, e)
	}
	if end == nil {
		if err := ctx.Err(); err != nil {
			return page{}, err
		}
		return page{}, nats.ErrTimeout
	}
	switch status := end.Header.Get("Status"); status {
	case statusNotFound:
		return p, nil
	case statusTooMany:
		return page{}, errTooMany
	case statusEnd:
		p.pending, err = strconv.Atoi(end.Header.Get("Nats-Num-Pending"))
		if err != nil {
			return page{}, fmt.Errorf("the end of the answer has no count: %w", err)
		}
		return p, nil
	default:
		return page{}, fmt.Errorf("%s %s", status, end.Header.Get("Description"))
	}
}
