package api

import (
	"context"
	"net/http"

	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/wire"
)

// defaultPeople is how many people a page of a search has, unless the call sets a limit.
const defaultPeople = 20

// peopleCalls declares the calls by which users find out who others are.
func peopleCalls() []Call {
	return []Call{{
		Name: "people", Method: http.MethodGet, Path: "/im/people", Auth: true, NATS: true, Reads: true,
		Fields: []wire.Field{{Name: "q", Max: wire.MaxName, Empty: wire.NameEmpty}, {Name: "after", Max: wire.MaxCursor},
			{Name: "limit", Kind: wire.Number, Least: 1, Most: im.MaxPeople}},
		Codes: []wire.Code{wire.NameEmpty},
		Limit: ofUser(governor.Searches),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			limit := defaultPeople
			if n, given := r.Number("limit"); given {
				limit = int(n)
			}
			return a.opts.Friends.People(ctx, r.me, r.Get("q"), r.Get("after"), limit)
		},
	}, {
		Name: "person", Method: http.MethodGet, Path: "/im/people/one", Auth: true, NATS: true, Reads: true,
		Fields: []wire.Field{{Name: "of", Empty: wire.FriendEmpty}},
		Codes:  []wire.Code{wire.FriendEmpty, wire.FriendNotExists},
		Limit:  ofUser(governor.Searches),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return a.opts.Friends.Person(ctx, r.me, r.Get("of"))
		},
	}, {
		Name: "asked", Method: http.MethodGet, Path: "/im/friends/asked", Auth: true, NATS: true, Reads: true,
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return a.opts.Friends.Asked(ctx, r.me)
		},
	}, {
		Name: "cancel", Method: http.MethodPost, Path: "/im/friends/cancel", Auth: true, NATS: true,
		Fields: []wire.Field{{Name: "to", Empty: wire.FriendEmpty}},
		Codes:  []wire.Code{wire.FriendEmpty, wire.AlreadyFriends, wire.FriendNotExists},
		Limit:  ofUser(governor.FriendChanges),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Friends.Cancel(ctx, r.me, r.Get("to"))
		},
	}}
}
