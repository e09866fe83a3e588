package kv

import (
	"context"
	"hash/maphash"
	"slices"
)

// locks let changes of the same key on this node wait for each other, so that a popular user's
// roster is written by one after the other instead of by everybody again and again. They only save
// work: what makes a change right is the revision that it expects.
type locks struct {
	seed    maphash.Seed
	stripes [256]chan struct{} // each holds one while locked
}

func newLocks() *locks {
	l := &locks{seed: maphash.MakeSeed()}
	for i := range l.stripes {
		l.stripes[i] = make(chan struct{}, 1)
	}
	return l
}

// lock waits for all keys, or until ctx ends. Keys may share a stripe; stripes are taken in
// ascending order, so nobody waits in a circle.
func (l *locks) lock(ctx context.Context, keys ...string) (unlock func(), err error) {
	stripes := make([]int, len(keys))
	for i, key := range keys {
		stripes[i] = int(maphash.String(l.seed, key) % uint64(len(l.stripes)))
	}
	slices.Sort(stripes)
	stripes = slices.Compact(stripes)
	for n, i := range stripes {
		select {
		case l.stripes[i] <- struct{}{}:
		case <-ctx.Done():
			l.unlock(stripes[:n])
			return nil, ctx.Err()
		}
	}
	return func() { l.unlock(stripes) }, nil
}

func (l *locks) unlock(stripes []int) {
	for _, i := range stripes {
		<-l.stripes[i]
	}
}
