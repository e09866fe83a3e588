package tunnel

import (
	"context"
	"slices"

	"imctl/bridge/governor"
	"imctl/bridge/wire"
)

// Notices tell a client news that it could also read at its next login. So a connection that is slow does not keep all
// of them, and does not end because of them: a notice that waits gives way to a later one that supersedes it. A notice
// that does not fit is dropped. When the client has read the rest, the server sends it the current state instead.
const (
	// maxNotices and maxNoticeBytes bound the notices that wait for a connection, and those that are being written.
	maxNotices     = 256
	maxNoticeBytes = 1 << 20
	// maxMissed bounds the users whose dropped notices a connection remembers. Further ones are lost until the next
	// login.
	maxMissed = 1024
)

// notices are the notices that wait for a connection that is busy. The zero value is empty.
type notices struct {
	waiting []waitingNotice
	size    int             // bytes of the waiting frames
	missed  map[string]bool // users of dropped notices, and whether one of these told of a friendship or a request
}

type waitingNotice struct {
	wire.Notice
	frame []byte
}

// add lets a notice wait, instead of those that it supersedes. It returns false if it drops the notice.
func (n *notices) add(notice wire.Notice, frame []byte) bool {
	n.waiting = slices.DeleteFunc(n.waiting, func(w waitingNotice) bool {
		superseded := notice.Supersedes(w.Notice)
		if superseded {
			n.size -= len(w.frame)
		}
		return superseded
	})
	if len(n.waiting) >= maxNotices || len(n.waiting) > 0 && n.size+len(frame) > maxNoticeBytes {
		n.miss(notice.ID, notice.Relation())
		return false
	}
	n.waiting = append(n.waiting, waitingNotice{notice, frame})
	n.size += len(frame)
	return true
}

// miss remembers that a notice about a user was dropped.
func (n *notices) miss(user string, relation bool) {
	if n.missed == nil {
		n.missed = make(map[string]bool)
	}
	if _, known := n.missed[user]; known || len(n.missed) < maxMissed {
		n.missed[user] = n.missed[user] || relation
	}
}

// notify gathers a notice. While the connection is busy the notice waits. notify returns false if it drops the notice.
func (c *conn) notify(notice wire.Notice, frame []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.closed || c.refusing {
		return true // the session ends
	}
	if c.held || c.writing || len(c.news.waiting) > 0 || c.notices >= maxNotices {
		return c.news.add(notice, frame)
	}
	c.gather(frame)
	return true
}

// gather appends a notice to the frames to write. Called with mu held.
func (c *conn) gather(notice []byte) {
	if c.out == nil {
		c.out = getBuffer()
	}
	c.notices++
	c.out.b = appendFrame(c.out.b, notice)
	c.out.owed = append(c.out.owed, outgoing{notice: true})
}

// gatherWaiting appends the waiting notices to the frames to write. Called with mu held.
func (c *conn) gatherWaiting() {
	for _, w := range c.news.waiting {
		c.gather(w.frame)
	}
	c.news.waiting, c.news.size = nil, 0
}

// takeMissed returns the users whose notices were dropped, once everything that waits is written. Called with mu held.
func (c *conn) takeMissed() map[string]bool {
	if c.news.missed == nil || c.out != nil || len(c.news.waiting) > 0 || c.refusing || c.closed {
		return nil
	}
	missed := c.news.missed
	c.news.missed = nil
	return missed
}

// refresh sends a session the current state of the users about whom it missed notices.
func (t *Tunnel) refresh(s *Session, missed map[string]bool) {
	t.refreshes.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), loginTimeout)
		defer cancel()
		go func() {
			select {
			case <-s.done:
				cancel()
			case <-ctx.Done():
			}
		}()
		leave, err := t.logins.Enter(governor.WithCaller(ctx, governor.Changes, s.address, s.user())) // it reads as much as a login
		if err != nil {
			s.conn.missAgain(missed)
			return
		}
		defer leave()
		frames, err := t.opts.Friends.News(ctx, s.user(), missed)
		if err != nil {
			t.opts.Logger.Warn("refresh a slow session", "session", s.id, "user", s.user(), "err", err)
			s.conn.missAgain(missed)
			return
		}
		receipts, err := t.receipts(ctx, s, missed)
		if err != nil {
			t.opts.Logger.Warn("refresh the receipts of a slow session", "session", s.id, "user", s.user(), "err", err)
			s.conn.missAgain(missed)
			return
		}
		for _, frame := range append(frames, receipts...) {
			s.Notify(frame)
		}
		s.member.FlushSoon()
	})
}

// receipts returns how far the conversations of a session with these users have come, and their marks, if it takes part
// in them.
func (t *Tunnel) receipts(ctx context.Context, s *Session, users map[string]bool) (frames [][]byte, err error) {
	if !s.keep {
		return nil, nil
	}
	cursors, err := t.opts.Talks.Cursors(ctx, s.user())
	if err != nil {
		return nil, err
	}
	for user := range users {
		c := cursors[user]
		if c.PeerGot > 0 {
			frames = append(frames, wire.AppendDelivered(nil, user, c.PeerGot))
		}
		if c.PeerRead > 0 && t.opts.Receipts {
			frames = append(frames, wire.AppendRead(nil, user, c.PeerRead, false))
		}
		if c.Read > 0 {
			frames = append(frames, wire.AppendRead(nil, user, c.Read, true))
		}
		if m := c.Marks; m != 0 {
			frames = append(frames, wire.AppendMarked(nil, user, m.Pinned(), m.Archived(), m.Muted()))
		}
	}
	return frames, nil
}

// missAgain remembers users after a refresh has failed. The next write tries again.
func (c *conn) missAgain(missed map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for user, relation := range missed {
		c.news.miss(user, relation)
	}
}
