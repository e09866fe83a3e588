package im

import (
	"context"
	"errors"

	"imctl/bridge/cluster"
	"imctl/bridge/wire"
	"imctl/kv"
)

// A blocked friend stays a friend, and sees the user who blocks it as offline: no presence, no profile updates, and 508
// for dialogues, on every node. Requests of a blocked user are answered as if they were sent.

// Block makes me block another user. Repeating the call changes nothing.
//
// Errors: kv.ErrUserNotFound, kv.ErrSelf, kv.ErrTooManyBlocked, kv.ErrConflict, kv.ErrReadOnly.
func (f *Friends) Block(ctx context.Context, me kv.User, to string) error {
	if _, err := f.Store.Users.Get(ctx, to); err != nil {
		return err
	}
	c, err := f.Store.Rosters.Block(ctx, me.ID, to)
	if err != nil {
		return err
	}
	f.Log.Friend(c)
	if err := f.settle(ctx, me.ID, to, nil); err != nil || c.Kind == kv.Unchanged {
		return err
	}
	if c.FriendOfA.ID != "" {
		return f.showPresence(ctx, c, false)
	}
	if err = f.notify(me.ID, wire.AppendRemoved(nil, to)); !c.Quiet { // the requests between the two
		err = errors.Join(err, f.notify(to, wire.AppendRemoved(nil, me.ID)))
	}
	return err
}

// Unblock makes me no longer block another user. A user that was not blocked changes nothing.
//
// Errors: kv.ErrUserNotFound for an invalid id, kv.ErrConflict, kv.ErrReadOnly.
func (f *Friends) Unblock(ctx context.Context, me kv.User, to string) error {
	c, err := f.Store.Rosters.Unblock(ctx, me.ID, to)
	if err != nil {
		return err
	}
	f.Log.Friend(c)
	if err := f.settle(ctx, me.ID, to, nil); err != nil || c.Kind == kv.Unchanged {
		return err
	}
	if c.FriendOfA.ID == "" || c.FriendOfA.BlockedBy { // not friends, or the other one still blocks me
		return nil
	}
	return f.showPresence(ctx, c, true)
}

// showPresence shows the two friends of a change each other: as they are if visible, else as offline. It shows only
// changes: that a friend who is online went offline, or came online.
func (f *Friends) showPresence(ctx context.Context, c kv.Change, visible bool) error {
	if !visible && c.FriendOfA.BlockedBy {
		return nil // the other one blocks me already: both see each other as offline
	}
	online, err := f.Presence.Online(ctx, c.A, c.B)
	if err != nil {
		return err
	}
	if online[0] {
		err = f.notify(c.B, wire.AppendPresence(nil, c.A, visible))
	}
	if online[1] {
		err = errors.Join(err, f.notify(c.A, wire.AppendPresence(nil, c.B, visible)))
	}
	return err
}

// Blocked returns the profiles of the users whom me blocks, oldest block first. Of a deleted user it returns only the
// id, so that the user can be unblocked.
func (f *Friends) Blocked(ctx context.Context, me kv.User) ([]wire.Profile, error) {
	r, _, err := f.Store.Rosters.Get(ctx, me.ID)
	if err != nil {
		return nil, err
	}
	users, err := f.Store.Users.GetMany(ctx, r.Blocked)
	if err != nil {
		return nil, err
	}
	blocked := make([]wire.Profile, len(r.Blocked))
	for i, id := range r.Blocked {
		u := users[id]
		u.ID = id
		blocked[i] = ProfileOf(u)
	}
	return blocked, nil
}

// Hidden reports whether the owner of a roster and a friend must not see each other's presence, because one blocks the
// other.
func Hidden(r kv.Roster, friend kv.Friend) bool { return friend.BlockedBy || r.Blocks(friend.ID) }

// blocksOf returns which of two friends blocks the other, as the first one's roster has it.
func blocksOf(own, other kv.Friend) cluster.Blocks {
	return cluster.Blocks{Blocked: other.BlockedBy, BlockedBy: own.BlockedBy}
}
