package bridge

import (
	"context"
	"sync"
)

// turns let calls for the same key go one after the other. They only save work: of many who register one account at
// once the first makes it, and the others hear that it is taken without a place to hash their passwords.
type turns struct {
	mu sync.Mutex // guards of
	of map[string]*turn
}

type turn struct {
	place chan struct{} // holds one while somebody has the turn
	users int           // who has it, and who waits for it; guarded by turns.mu
}

// take waits for the key's turn, or until ctx ends.
func (t *turns) take(ctx context.Context, key string) (leave func(), err error) {
	t.mu.Lock()
	if t.of == nil {
		t.of = make(map[string]*turn)
	}
	mine := t.of[key]
	if mine == nil {
		mine = &turn{place: make(chan struct{}, 1)}
		t.of[key] = mine
	}
	mine.users++
	t.mu.Unlock()
	forget := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.of, key)
		}
	}
	select {
	case mine.place <- struct{}{}:
		return func() { <-mine.place; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}
