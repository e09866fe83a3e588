package api

import (
	"context"
	"net/http"

	"imctl/bridge/governor"
	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Talks has the conversations that are kept. talk.Service is one.
type Talks interface {
	Got(user, with string, n uint64)
	Read(user, with string, n uint64)
	Forget(ctx context.Context, user, with string) error
	Mark(ctx context.Context, user, with string, known bool, change kv.MarkChange) (kv.Marks, error)
	History(ctx context.Context, user, with string, r kv.Range) (kv.Page, error)
	Talks(ctx context.Context, user string, friends []string) ([]talk.Talk, error)
}

// Dialogues that a call for a part of a conversation returns, unless it sets a limit, and at most.
const (
	defaultDialogues = 50
	maxDialogues     = 200
)

// talkCalls declares the calls for kept conversations.
func talkCalls() []Call {
	with := wire.Field{Name: "with", Empty: wire.FriendEmpty}
	empty := []wire.Code{wire.FriendEmpty}
	number := func(name string) wire.Field {
		return wire.Field{Name: name, Kind: wire.Number, Least: 1, Empty: wire.ProtocolError}
	}
	return []Call{{
		Name: "dialogues", Method: http.MethodGet, Path: "/im/dialogues", Auth: true, NATS: true, Reads: true, NeedsTalks: true,
		Fields: []wire.Field{with, {Name: "before", Kind: wire.Number}, {Name: "after", Kind: wire.Number},
			{Name: "limit", Kind: wire.Number, Least: 1, Most: maxDialogues}},
		Codes: empty,
		Limit: ofUser(governor.History),
		do:    history,
	}, {
		Name: "forget", Method: http.MethodPost, Path: "/im/dialogues/remove", Auth: true, NATS: true, NeedsTalks: true,
		Fields: []wire.Field{with},
		Codes:  empty,
		Limit:  ofUser(governor.FriendChanges),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			if other, ok := r.other(); ok {
				return nil, a.opts.Talks.Forget(ctx, r.me.ID, other)
			}
			return nil, nil
		},
	}, {
		Name: "talks", Auth: true, NATS: true, Reads: true, NeedsTalks: true,
		Limit: ofUser(governor.History),
		do:    talks,
	}, {
		Name: "got", Auth: true, NATS: true, NeedsTalks: true,
		Fields: []wire.Field{with, number("got")},
		Codes:  empty,
		do: func(_ context.Context, a *API, r *request) (result, error) {
			if other, ok := r.other(); ok {
				n, _ := r.Number("got")
				a.opts.Talks.Got(r.me.ID, other, n)
			}
			return nil, nil
		},
	}, {
		Name: "read", Auth: true, NATS: true, NeedsTalks: true,
		Fields: []wire.Field{with, number("read")},
		Codes:  empty,
		do: func(_ context.Context, a *API, r *request) (result, error) {
			if other, ok := r.other(); ok {
				n, _ := r.Number("read")
				a.opts.Talks.Read(r.me.ID, other, n)
			}
			return nil, nil
		},
	}, {
		Name: "mark", Method: http.MethodPost, Path: "/im/dialogues/mark", Auth: true, NATS: true, NeedsTalks: true,
		Fields: []wire.Field{with, {Name: "pinned", Kind: wire.Bool}, {Name: "archived", Kind: wire.Bool}, {Name: "muted", Kind: wire.Bool}},
		Codes:  []wire.Code{wire.FriendEmpty, wire.NotFriends},
		Limit:  ofUser(governor.History),
		do:     mark,
	}}
}

// mark changes the marks of a conversation, and tells the caller's clients.
func mark(ctx context.Context, a *API, r *request) (result, error) {
	other, ok := r.other()
	if !ok {
		return nil, wire.NotFriends
	}
	roster, _, err := a.opts.Store.Rosters.Get(ctx, r.me.ID)
	if err != nil {
		return nil, err
	}
	_, friend := roster.Friend(other)
	change := kv.MarkChange{Pinned: r.Bool("pinned"), Archived: r.Bool("archived"), Muted: r.Bool("muted")}
	marks, err := a.opts.Talks.Mark(ctx, r.me.ID, other, friend, change)
	if err == nil {
		a.opts.Lanes.Marked(r.me.ID, other, marks)
	}
	return nil, err
}

// other returns the user that the caller names as the other one of a conversation. It returns false if there can be no
// conversation with that user.
func (r *request) other() (string, bool) {
	with := r.Get("with")
	return with, kv.ValidID(with) && with != r.me.ID
}

// history answers with a part of a conversation.
func history(ctx context.Context, a *API, r *request) (result, error) {
	before, hasBefore := r.Number("before")
	after, hasAfter := r.Number("after")
	if hasBefore && hasAfter {
		return nil, wire.ProtocolError
	}
	other, ok := r.other()
	if !ok {
		return wire.History{}, nil
	}
	limit := defaultDialogues
	if n, given := r.Number("limit"); given {
		limit = int(n)
	}
	page, err := a.opts.Talks.History(ctx, r.me.ID, other, kv.Range{Before: before, After: after, Forward: hasAfter, Limit: limit})
	if err != nil {
		return nil, err
	}
	answer := wire.History{First: page.First, Last: page.Last, Dialogues: make([]wire.KeptDialogue, len(page.Dialogues))}
	for i := range page.Dialogues {
		answer.Dialogues[i] = talk.Frame(&page.Dialogues[i], other)
	}
	return answer, nil
}

// talks answers with the conversations of the caller.
func talks(ctx context.Context, a *API, r *request) (result, error) {
	roster, _, err := a.opts.Store.Rosters.Get(ctx, r.me.ID)
	if err != nil {
		return nil, err
	}
	friends := make([]string, len(roster.Friends))
	for i, f := range roster.Friends {
		friends[i] = f.ID
	}
	all, err := a.opts.Talks.Talks(ctx, r.me.ID, friends)
	if err != nil {
		return nil, err
	}
	answer := make(wire.Talks, len(all))
	for i := range all {
		answer[i] = all[i].Frame()
	}
	return answer, nil
}
