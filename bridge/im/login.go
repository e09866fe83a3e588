package im

import (
	"context"

	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// LoginAnswer builds the answer to a login in pieces: it may have 2,000 friends with a picture each. It reads the
// profiles of friends as it needs them, a page at a time.
type LoginAnswer struct {
	friends *Friends
	me      kv.User
	roster  kv.Roster
	token   string
	push    bool   // show addresses of pictures
	keep    bool   // show the conversations
	online  []bool // of the roster's friends
	cursors map[string]kv.Cursor
	talks   []string // ids of the other users of the conversations

	next   int // the next entry of the friends and requests of the roster
	page   int // entries to read at once
	listed int // entries of the current list
	stage  loginStage
}

// loginStage is what LoginAnswer appends next.
type loginStage int

const (
	loginBegin loginStage = iota
	loginFriends
	loginRequests
	loginTalks
	loginDone
)

const (
	firstPage = 4       // the records may be large
	maxPage   = 256     // records read at once
	readBytes = 1 << 20 // bytes of records read at once
	plainUser = 1 << 10 // bytes of a record without its picture, roughly
)

// Answer returns the answer to a login of me. It reads the presence of the friends at once, and with keep the user's
// cursors. It reads everything else later.
func (f *Friends) Answer(ctx context.Context, me kv.User, r kv.Roster, token string, push, keep bool) (*LoginAnswer, error) {
	a := &LoginAnswer{friends: f, me: me, roster: r, token: token, push: push, keep: keep && f.Conversations != nil}
	if push {
		a.me = withAddress(me)
	}
	if len(r.Friends) > 0 {
		ids := make([]string, len(r.Friends))
		for i, friend := range r.Friends {
			ids[i] = friend.ID
		}
		var err error
		if a.online, err = f.Presence.Online(ctx, ids...); err != nil {
			return nil, err
		}
	}
	if a.keep {
		var err error
		if a.cursors, err = f.Conversations.Cursors(ctx, me.ID); err != nil {
			return nil, err
		}
		a.talks = talk.Partners(r, a.cursors)
	}
	a.Rewind()
	return a, nil
}

// Rewind makes the next Append begin with the beginning of the answer.
func (a *LoginAnswer) Rewind() {
	a.next, a.page, a.listed, a.stage = 0, firstPage, 0, loginBegin
}

// Append appends pieces of the answer until dst has at least size bytes, or the answer is complete. It exceeds size by
// at most a page, which has about size bytes.
//
// Errors: only those of NATS and ctx.
func (a *LoginAnswer) Append(ctx context.Context, dst []byte, size int) (_ []byte, done bool, err error) {
	for a.stage != loginDone && (len(dst) < size || a.stage == loginBegin) {
		switch friends := len(a.roster.Friends); {
		case a.stage == loginBegin:
			dst, a.stage = wire.AppendLoginBegin(dst), loginFriends
		case a.stage == loginFriends && a.next == friends:
			dst = wire.AppendLoginMiddle(wire.AppendListEnd(dst, a.listed), ProfileOf(a.me))
			a.listed, a.stage = 0, loginRequests
		case a.stage == loginRequests && a.next == friends+len(a.roster.Requests):
			dst = wire.AppendListEnd(dst, a.listed)
			if a.keep {
				dst = wire.AppendLoginTalks(dst)
				a.listed, a.next, a.stage = 0, 0, loginTalks
			} else {
				dst, a.stage = wire.AppendLoginEnd(dst, a.token), loginDone
			}
		case a.stage == loginTalks && a.next == len(a.talks):
			dst = wire.AppendLoginEnd(wire.AppendListEnd(dst, a.listed), a.token)
			a.stage = loginDone
		case a.stage == loginTalks:
			if dst, err = a.appendTalks(ctx, dst); err != nil {
				return dst, false, err
			}
		default:
			if dst, err = a.appendPage(ctx, dst, size); err != nil {
				return dst, false, err
			}
		}
	}
	return dst, a.stage == loginDone, nil
}

// appendPage reads the next page of users, and appends their entries. A user that is being deleted may be missing.
func (a *LoginAnswer) appendPage(ctx context.Context, dst []byte, size int) ([]byte, error) {
	friends := a.roster.Friends
	end := min(a.next+a.page, len(friends))
	if a.stage == loginRequests {
		end = min(a.next+a.page, len(friends)+len(a.roster.Requests))
	}
	ids := make([]string, 0, end-a.next)
	for i := a.next; i < end; i++ {
		ids = append(ids, a.idAt(i))
	}
	profiles, read, err := a.profiles(ctx, ids)
	if err != nil {
		return dst, err
	}
	for ; a.next < end; a.next++ {
		p, ok := profiles[a.idAt(a.next)]
		if !ok {
			continue
		}
		if a.stage == loginRequests {
			q := a.roster.Requests[a.next-len(friends)]
			dst = wire.AppendItem(dst, a.listed, wire.Request{ID: p.ID, Name: p.Name, To: a.me.ID, Note: q.Note})
		} else {
			dst = wire.AppendItem(dst, a.listed, asFriend(p, friends[a.next].Alias, a.online[a.next] && !Hidden(a.roster, friends[a.next])))
		}
		a.listed++
	}
	target := readBytes
	if a.inline() { // what is read is appended, too
		target = size
	}
	a.page = min(max(target*len(ids)/max(read, plainUser), 1), maxPage)
	return dst, nil
}

// talksPage is how many conversations are read at once. Each may show a dialogue of sessions.max_frame.
const talksPage = 64

// appendTalks reads the next page of conversations, and appends their entries.
func (a *LoginAnswer) appendTalks(ctx context.Context, dst []byte) ([]byte, error) {
	end := min(a.next+talksPage, len(a.talks))
	page, err := a.friends.Conversations.TalksOf(ctx, a.me.ID, a.talks[a.next:end], a.cursors)
	if err != nil {
		return dst, err
	}
	for i := range page {
		dst = wire.AppendItem(dst, a.listed, page[i].Frame())
		a.listed++
	}
	a.next = end
	return dst, nil
}

// inline reports whether the current list shows pictures, and not only their addresses.
func (a *LoginAnswer) inline() bool { return !a.push && a.stage == loginFriends }

// profiles returns the profiles of the users with these ids, as the current list shows them, and how many bytes it has
// read.
func (a *LoginAnswer) profiles(ctx context.Context, ids []string) (all map[string]wire.Profile, read int, err error) {
	if !a.inline() {
		return a.friends.shownOf(ctx, ids)
	}
	users, err := a.friends.Store.Users.GetMany(ctx, ids)
	all = make(map[string]wire.Profile, len(users))
	for id, u := range users {
		read += len(u.Picture) + plainUser
		all[id] = ProfileOf(u)
	}
	return all, read, err
}

// idAt returns the id of the user of an entry: friends first, then requests.
func (a *LoginAnswer) idAt(i int) string {
	if n := len(a.roster.Friends); i >= n {
		return a.roster.Requests[i-n].From
	}
	return a.roster.Friends[i].ID
}
