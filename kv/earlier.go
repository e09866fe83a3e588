package kv

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// earlierAtOnce is how many records Earlier requests at once.
const earlierAtOnce = 16

// Earlier returns up to n records before r, the newest first, and less than n only if the stream has no others. It
// follows the skip pointers, so that it waits for a few dozen answers, and not for n. After an error it returns the
// records up to the first one that it could not read.
//
// Errors: only those of NATS and ctx.
func (t *Talks) Earlier(ctx context.Context, r *Record, n uint64) ([]*Record, error) {
	if r.index <= 1 || n == 0 {
		return nil, nil
	}
	e := earlier{talks: t, low: max(1, r.index-min(n, r.index))}
	e.found = make([]*Record, r.index-e.low)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(earlierAtOnce)
	e.group = group
	err := e.read(ctx, r, e.low)
	if failed := group.Wait(); failed != nil {
		err = failed
	}
	var all []*Record
	for i := len(e.found) - 1; i >= 0 && e.found[i] != nil; i-- {
		all = append(all, e.found[i])
	}
	return all, err
}

// earlier is a call of Earlier.
type earlier struct {
	talks *Talks
	group *errgroup.Group
	low   uint64    // index of the first record that is wanted
	found []*Record // by index, from low on; nil: not read, or expired
}

// read reads the records with the indexes from low up to that of r, which is not read.
func (e *earlier) read(ctx context.Context, r *Record, low uint64) error {
	for r.index > low {
		// The skip pointer furthest back that leads to a wanted record divides the work.
		seq, index := r.prev, r.index-1
		for k, span := 0, uint64(skipBase); k < len(r.skips); k, span = k+1, span*skipBase {
			if at := (r.index - 1) / span * span; at >= low {
				seq, index = r.skips[k].seq, at
			}
		}
		first := low
		before := func() error {
			found, err := e.get(ctx, r, seq, index)
			if err != nil || found == nil {
				return err
			}
			return e.read(ctx, found, first)
		}
		if index == r.index-1 {
			return before()
		}
		if !e.group.TryGo(before) {
			if err := before(); err != nil {
				return err
			}
		}
		low = index + 1
	}
	return nil
}

// get reads the record with that sequence. It returns nil if the stream has it no longer.
func (e *earlier) get(ctx context.Context, r *Record, seq, index uint64) (*Record, error) {
	found, err := e.talks.follow(ctx, r, seq)
	if errors.Is(err, ErrNoDialogue) {
		return nil, nil
	}
	if err == nil {
		e.found[index-e.low] = found
	}
	return found, err
}
