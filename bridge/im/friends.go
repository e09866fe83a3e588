package im

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"imctl/bridge/cluster"
	"imctl/bridge/hook"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Friends finds users, and makes and ends friendships.
type Friends struct {
	Deps
	shown    *shownProfiles
	accounts shownAccounts
}

// NewFriends returns friends that work on d.
func NewFriends(d Deps) *Friends { return &Friends{Deps: d, shown: newShownProfiles()} }

// maxFound bounds the result of a search.
const maxFound = 50

// Find returns the profiles of users whose name is name or begins with it, without the caller's own.
func (f *Friends) Find(ctx context.Context, me kv.User, name string) ([]wire.Profile, error) {
	users, err := f.Store.Users.Find(ctx, name, maxFound, me.ID)
	if err != nil {
		return nil, err
	}
	found := make([]wire.Profile, len(users))
	for i, u := range users {
		found[i] = ProfileOf(u)
	}
	return found, nil
}

// Request asks a user for its friendship. The caller cannot tell whether the user hears of it: see kv.Rosters.Request.
//
// Errors: kv.ErrUserNotFound, kv.ErrSelf, kv.ErrAlreadyFriends, kv.ErrBlocked, kv.ErrTooManyRequests, kv.ErrConflict,
// kv.ErrReadOnly.
func (f *Friends) Request(ctx context.Context, me kv.User, to, note string) error {
	if err := f.mustBeActive(ctx, to); err != nil {
		return err
	}
	if f.Hooks != nil {
		var err error
		if note, err = f.Hooks.Request(me.ID, to, note); errors.Is(err, hook.ErrDropped) {
			return nil
		} else if err != nil {
			return err
		}
	}
	c, err := f.Store.Rosters.Request(ctx, me.ID, to, note)
	if errors.Is(err, kv.ErrAlreadyFriends) {
		return f.settle(ctx, me.ID, to, err)
	}
	if err != nil {
		return err
	}
	f.log(c)
	if c.Kind != kv.Requested || c.Quiet {
		return nil
	}
	if f.Push != nil {
		f.Push.Requested(to, me.ID)
	}
	return f.notify(to, wire.AppendApply(nil, wire.Request{ID: me.ID, Name: me.Name, To: to, Note: note}))
}

// Add accepts a request, or gives a friend an alias.
//
// Errors: kv.ErrUserNotFound, kv.ErrNoRequest, kv.ErrAlreadyFriends, kv.ErrTooManyFriends, kv.ErrConflict,
// kv.ErrReadOnly.
func (f *Friends) Add(ctx context.Context, me kv.User, from, alias string) error {
	if err := f.mustBeActive(ctx, from); err != nil {
		return err
	}
	c, err := f.Store.Rosters.Add(ctx, me.ID, from, alias)
	if errors.Is(err, kv.ErrAlreadyFriends) || errors.Is(err, kv.ErrNoRequest) {
		return f.settle(ctx, me.ID, from, err)
	}
	if err != nil {
		return err
	}
	return f.bringIntoForce(ctx, c)
}

// Remove ends a friendship at both ends, and all requests between the two.
//
// Errors: kv.ErrNotFriends, kv.ErrConflict, kv.ErrReadOnly.
func (f *Friends) Remove(ctx context.Context, me kv.User, to string) error {
	c, err := f.Store.Rosters.Remove(ctx, me.ID, to)
	if errors.Is(err, kv.ErrNotFriends) {
		if failed := f.bringIntoForce(ctx, c); failed != nil { // requests between the two may have been withdrawn
			return failed
		}
		return f.settle(ctx, me.ID, to, err)
	}
	if err != nil {
		return err
	}
	return f.bringIntoForce(ctx, c)
}

// Befriend makes two users friends at once, without aliases: the administrator's way. The change is kv.Unchanged if
// they are friends already.
//
// Errors: kv.ErrSelf, kv.ErrUserNotFound, kv.ErrTooManyFriends, kv.ErrConflict, kv.ErrReadOnly.
func (f *Friends) Befriend(ctx context.Context, a, b string) (kv.Change, error) {
	c, err := f.Store.Rosters.Befriend(ctx, a, b)
	if err != nil {
		return c, err
	}
	if c.Kind == kv.Unchanged {
		return c, f.settle(ctx, a, b, nil)
	}
	return c, f.bringIntoForce(ctx, c)
}

// Unfriend ends a friendship at both ends. Errors: kv.ErrNotFriends, kv.ErrConflict, kv.ErrReadOnly.
func (f *Friends) Unfriend(ctx context.Context, a, b string) error {
	return f.Remove(ctx, kv.User{ID: a}, b)
}

// maxBefriended bounds the friendships in one command, which has to fit into a message.
const maxBefriended = 1000

// Restore adds what rosters lack of the given ones, and returns the changes, also with an error; see
// kv.Rosters.Restore. Sessions are shown new friends. They see restored requests at the next login.
func (f *Friends) Restore(ctx context.Context, all ...kv.UserSnapshot) ([]kv.Change, error) {
	changes, err := f.Store.Rosters.Restore(ctx, all...)
	var made []cluster.Friendship
	for _, c := range changes {
		f.log(c)
		switch c.Kind {
		case kv.Befriended:
			made = append(made,
				cluster.Friendship{User: c.A, Other: c.B, Alias: c.FriendOfA.Alias, Revision: c.RevisionA, Blocks: blocksOf(c.FriendOfA, c.FriendOfB)},
				cluster.Friendship{User: c.B, Other: c.A, Alias: c.FriendOfB.Alias, Revision: c.RevisionB, Blocks: blocksOf(c.FriendOfB, c.FriendOfA)})
		case kv.Blocked:
			err = f.settle(ctx, c.A, c.B, err)
		}
	}
	for some := range slices.Chunk(made, maxBefriended) {
		err = errors.Join(err, f.Cluster.Broadcast(ctx, cluster.Befriended{Friends: some}))
	}
	return changes, err
}

// log writes a change to the event log, unless it is unheard: programs that read along act on it for the other user.
func (f *Friends) log(c kv.Change) {
	if !c.Unheard {
		f.Log.Friend(c)
	}
}

// mustBeActive returns kv.ErrUserNotFound for a user that cannot become a friend.
func (f *Friends) mustBeActive(ctx context.Context, id string) error {
	if !kv.ValidID(id) {
		return kv.ErrUserNotFound
	}
	u, err := f.Store.Users.Get(ctx, id)
	if err == nil && u.Disabled {
		return kv.ErrUserNotFound
	}
	return err
}

// settle tells all nodes what the rosters say of a and b: that they are friends, or that they are not. A call that
// changes nothing but tells its caller which of the two holds needs settle before its answer, since the call that made
// or ended the friendship may not have told all nodes yet. settle returns answer. If it fails, it returns its own
// error, since the answer does not hold on every node.
func (f *Friends) settle(ctx context.Context, a, b string, answer error) error {
	if a == b || !kv.ValidID(b) { // the caller's own id, or an invalid id: it is in no roster
		return answer
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, end := range [...]struct{ id, other string }{{a, b}, {b, a}} {
		g.Go(func() error {
			r, revision, err := f.Store.Rosters.Get(ctx, end.id)
			if err != nil || revision == 0 { // a user without a roster never had a friend
				return err
			}
			friend, ok := r.Friend(end.other)
			blocks := cluster.Blocks{Blocked: ok && r.Blocks(end.other), BlockedBy: friend.BlockedBy}
			return f.Cluster.Broadcast(ctx, cluster.RosterChanged{User: end.id, Other: end.other, Friend: ok, Revision: revision, Blocks: blocks})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return answer
}

// bringIntoForce tells all nodes of a change of two rosters, then shows it to the two users.
func (f *Friends) bringIntoForce(ctx context.Context, c kv.Change) error {
	f.log(c)
	switch c.Kind {
	case kv.Befriended, kv.Removed:
	case kv.Named:
		return f.settle(ctx, c.A, c.B, nil)
	case kv.Withdrawn: // requests are not in the rosters that nodes hold
		err := f.notify(c.A, wire.AppendRemoved(nil, c.B))
		if !c.Quiet {
			err = errors.Join(err, f.notify(c.B, wire.AppendRemoved(nil, c.A)))
		}
		return err
	default:
		return nil
	}
	befriended := c.Kind == kv.Befriended
	ends := []struct {
		id, other, alias string
		revision         uint64
		blocks           cluster.Blocks
	}{{c.A, c.B, c.FriendOfA.Alias, c.RevisionA, blocksOf(c.FriendOfA, c.FriendOfB)},
		{c.B, c.A, c.FriendOfB.Alias, c.RevisionB, blocksOf(c.FriendOfB, c.FriendOfA)}}
	g, ctx := errgroup.WithContext(ctx)
	for _, end := range ends {
		if end.revision == 0 { // this roster did not change
			continue
		}
		g.Go(func() error {
			command := cluster.RosterChanged{User: end.id, Other: end.other, Friend: befriended, Revision: end.revision, Blocks: end.blocks}
			if err := f.Cluster.Broadcast(ctx, command); err != nil {
				return err
			}
			frame := wire.AppendRemoved(nil, end.other)
			if befriended {
				var err error
				if frame, err = f.AddedFrame(ctx, end.other, end.alias, end.blocks != (cluster.Blocks{})); err != nil {
					return err
				}
			}
			return f.notify(end.id, frame)
		})
	}
	return g.Wait()
}

// AddedFrame returns the frame that shows a new friend, with the address of its picture, and as offline if hidden. Of a
// friend that was deleted meanwhile it shows only the id.
func (f *Friends) AddedFrame(ctx context.Context, id, alias string, hidden bool) ([]byte, error) {
	u, err := f.Store.Users.Get(ctx, id)
	if errors.Is(err, kv.ErrUserNotFound) {
		u = kv.User{ID: id}
	} else if err != nil {
		return nil, err
	}
	online, err := f.Presence.Online(ctx, id)
	if err != nil {
		return nil, err
	}
	return wire.AppendAdded(nil, friendOf(withAddress(u), alias, online[0] && !hidden)), nil
}

// BefriendOnce makes the user of a service and another one friends, and reports whether they were not before. A service
// can do so once for each user: see kv.Rosters.BefriendOnce.
//
// Errors: kv.ErrUserNotFound, kv.ErrSelf, kv.ErrNotFriends, kv.ErrTooManyFriends, kv.ErrConflict, kv.ErrReadOnly.
func (f *Friends) BefriendOnce(ctx context.Context, me kv.User, to string) (bool, error) {
	if err := f.mustBeActive(ctx, to); err != nil {
		return false, err
	}
	c, err := f.Store.Rosters.BefriendOnce(ctx, me.ID, to)
	if errors.Is(err, kv.ErrNotFriends) || err == nil && c.Kind == kv.Unchanged {
		return false, f.settle(ctx, me.ID, to, err)
	}
	if err != nil {
		return false, err
	}
	return true, f.bringIntoForce(ctx, c)
}
