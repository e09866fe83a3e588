// Package keymutex provides a mutex for each key.
package keymutex

import (
	"context"
	"slices"
	"sync"
)

// Mutex locks keys. Two callers wait for each other only if they lock a common key. A key takes memory only while it is
// locked or waited for. The zero Mutex is ready for use. It must not be copied after first use.
type Mutex struct {
	mu    sync.Mutex
	locks map[string]*lock // guarded by mu
}

// lock is the lock of one key.
type lock struct {
	held chan struct{} // holds a value while the key is locked
	refs int           // callers that hold the key or wait for it; guarded by Mutex.mu
}

// Lock locks all keys, or waits until ctx ends and then returns its error, with no key locked. A key that occurs
// twice is locked once. Lock locks the keys in ascending order, so that callers with common keys cannot deadlock. The
// caller must call unlock exactly once. A caller that holds keys must not call Lock for further ones.
func (m *Mutex) Lock(ctx context.Context, keys ...string) (unlock func(), err error) {
	if len(keys) > 1 {
		keys = slices.Clone(keys)
		slices.Sort(keys)
		keys = slices.Compact(keys)
	}
	locks := make([]*lock, len(keys))
	m.mu.Lock()
	if m.locks == nil {
		m.locks = make(map[string]*lock)
	}
	for i, key := range keys {
		l := m.locks[key]
		if l == nil {
			l = &lock{held: make(chan struct{}, 1)}
			m.locks[key] = l
		}
		l.refs++
		locks[i] = l
	}
	m.mu.Unlock()
	for i, l := range locks {
		select {
		case l.held <- struct{}{}:
		case <-ctx.Done():
			m.release(keys, locks, i)
			return nil, ctx.Err()
		}
	}
	return func() { m.release(keys, locks, len(locks)) }, nil
}

// release unlocks the first held locks, and removes those of all keys that no caller holds or waits for.
func (m *Mutex) release(keys []string, locks []*lock, held int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, l := range locks {
		if i < held {
			<-l.held // never blocks: the caller holds the lock
		}
		if l.refs--; l.refs == 0 {
			delete(m.locks, keys[i])
		}
	}
}
