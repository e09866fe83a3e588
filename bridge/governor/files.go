package governor

import (
	"sync"
	"time"
)

// Uploads of files at the same time, of one user and of all. Each holds the memory of a few chunks.
const (
	userUploads = 4
	allUploads  = 128
)

// uploadRetry is when a client may try again that has too many uploads under way.
const uploadRetry = 2 * time.Second

// uploads are the uploads of files under way.
type uploads struct {
	mu     sync.Mutex // guards the fields below
	all    int
	byUser map[string]int
}

// Uploading counts an upload of a file by a user until done is called. Errors: ErrLimited.
func (g *Governor) Uploading(user string) (done func(), err error) {
	u := &g.uploads
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all >= allUploads || u.byUser[user] >= userUploads {
		return nil, g.refuse(FileUploads, user, uploadRetry)
	}
	if u.byUser == nil {
		u.byUser = make(map[string]int)
	}
	u.all++
	u.byUser[user]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.all--
		if u.byUser[user]--; u.byUser[user] == 0 {
			delete(u.byUser, user)
		}
	}, nil
}
