package api

import (
	"context"
	"errors"
	"net/http"

	"imctl/bridge/governor"
	"imctl/bridge/push"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Push has the subscriptions to push messages. push.Service is one.
type Push interface {
	Key(ctx context.Context) (string, error)
	Add(ctx context.Context, user string, s kv.PushSubscription) error
	Remove(ctx context.Context, user, endpoint string) error
}

// pushCalls declares the calls for push messages. A subscription belongs to the sign-in of the token, so NATS clients, which
// have none, cannot make one.
func pushCalls() []Call {
	endpoint := wire.Field{Name: "endpoint", Max: wire.MaxEndpoint, Empty: wire.ProtocolError}
	return []Call{{
		Name: "push", Method: http.MethodGet, Path: "/im/push", Auth: true, NeedsPush: true,
		do: func(ctx context.Context, a *API, _ *request) (result, error) {
			key, err := a.opts.Push.Key(ctx)
			if err != nil {
				return nil, err
			}
			return wire.PushKey(key), nil
		},
	}, {
		Name: "pushadd", Method: http.MethodPost, Path: "/im/push/add", Auth: true, NeedsPush: true,
		Fields: []wire.Field{endpoint, {Name: "p256dh", Max: wire.MaxPushKey, Empty: wire.ProtocolError}, {Name: "auth", Max: wire.MaxPushKey, Empty: wire.ProtocolError},
			{Name: "text", Kind: wire.Bool}, {Name: "language", Max: wire.MaxLanguage}},
		Limit: ofUser(governor.FriendChanges),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			text := r.Bool("text")
			err := a.opts.Push.Add(ctx, r.me.ID, kv.PushSubscription{Endpoint: r.Get("endpoint"), P256dh: r.Get("p256dh"), Auth: r.Get("auth"),
				Text: text != nil && *text, Language: r.Get("language"), Token: r.info.Hash, Login: r.info.FirstLogin()})
			if errors.Is(err, push.ErrSubscription) {
				return nil, wire.ProtocolError
			}
			return nil, err
		},
	}, {
		Name: "pushremove", Method: http.MethodPost, Path: "/im/push/remove", Auth: true, NeedsPush: true,
		Fields: []wire.Field{endpoint},
		Limit:  ofUser(governor.FriendChanges),
		do: func(ctx context.Context, a *API, r *request) (result, error) {
			return nil, a.opts.Push.Remove(ctx, r.me.ID, r.Get("endpoint"))
		},
	}}
}
