package kv

import (
	"cmp"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"imctl/kv/keymutex"
)

// MaxPushSubscriptions is how many subscriptions a user may have. One more drops the oldest.
const MaxPushSubscriptions = 10

// PushSubscription is where a device of a user gets push messages, as the device's push service has issued it. It
// belongs to the sign-in that made it.
type PushSubscription struct {
	Endpoint string    `json:"endpoint"` // URL at the push service; a secret
	P256dh   string    `json:"p256dh"`   // public key of the device, base64url
	Auth     string    `json:"auth"`     // secret of the device, base64url
	Text     bool      `json:"text"`     // messages have the friend's name and the text
	Language string    `json:"language"` // of the notifications
	Token    string    `json:"token"`    // hash of the token that made it
	Login    time.Time `json:"login"`    // FirstLogin of that token
	Created  time.Time `json:"created"`
}

// ID identifies the subscription among those of all users.
func (s PushSubscription) ID() string {
	sum := sha256.Sum256([]byte(s.Endpoint))
	return hex.EncodeToString(sum[:16])
}

// PushKeys are the VAPID keys (RFC 8292) of all servers on the same buckets, base64url.
type PushKeys struct {
	Private string `json:"private"`
	Public  string `json:"public"`
}

// Push stores the VAPID keys and the subscriptions, in the bucket of users. The key of a subscription has the ids of the
// user and of the subscription.
type Push struct {
	b     *bucket
	locks keymutex.Mutex // by user
}

const (
	pushPrefix  = "push."
	vapidPrefix = "vapid."
	vapidKey    = vapidPrefix + "keys"
)

func pushKey(user, id, record string) string { return pushPrefix + user + "." + id + "." + record }

// Keys returns the VAPID keys. The first call makes them; of concurrent calls on any servers, all get the same keys.
//
// Errors: ErrReadOnly.
func (p *Push) Keys(ctx context.Context) (keys PushKeys, err error) {
	err = compareAndSwap(ctx, func(ctx context.Context) error {
		e, err := p.b.get(ctx, vapidKey, true)
		if err == nil && !e.deleted {
			if err := json.Unmarshal(e.value, &keys); err != nil {
				return damaged(e)
			}
			return nil
		}
		if err != nil && !errors.Is(err, errKeyNotFound) {
			return err
		}
		private, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		text := base64.RawURLEncoding.EncodeToString
		keys = PushKeys{Private: text(private.Bytes()), Public: text(private.PublicKey().Bytes())}
		value, err := json.Marshal(keys)
		if err != nil {
			return err
		}
		_, err = p.b.write(ctx, putAt(vapidKey, value, 0))
		return err
	})
	if err != nil {
		return PushKeys{}, fmt.Errorf("kv: VAPID keys: %w", err)
	}
	return keys, nil
}

// Add stores a subscription of a user. It replaces the one with the same endpoint, also one of another user: both are the
// same device, which has a new user. If the user has too many, the oldest ones are dropped.
//
// Errors: ErrUserNotFound for an invalid id, ErrReadOnly.
func (p *Push) Add(ctx context.Context, user string, s PushSubscription) error {
	failed := func(err error) error { return fmt.Errorf("kv: add a push subscription: %w", err) }
	if !ValidID(user) {
		return failed(ErrUserNotFound)
	}
	unlock, err := p.locks.Lock(ctx, user)
	if err != nil {
		return failed(err)
	}
	defer unlock()
	s.Created = now()
	value, err := json.Marshal(s)
	if err != nil {
		return failed(err)
	}
	revision, err := p.b.write(ctx, putAt(pushKey(user, s.ID(), NewID()[:24]), value, 0))
	if err == nil {
		err = p.b.purge(ctx, pushKey("*", s.ID(), "*"), revision)
	}
	if err != nil {
		return failed(err)
	}
	all, err := p.List(ctx, user)
	if err != nil {
		return failed(err)
	}
	for _, old := range all[:max(0, len(all)-MaxPushSubscriptions)] {
		if err := p.Remove(ctx, user, old.ID()); err != nil {
			return failed(err)
		}
	}
	return nil
}

// List returns the subscriptions of a user, the oldest first.
//
// Errors: only those of NATS and ctx.
func (p *Push) List(ctx context.Context, user string) ([]PushSubscription, error) {
	if !ValidID(user) {
		return nil, nil
	}
	type stored struct {
		PushSubscription
		revision uint64
	}
	var all []stored
	for e, err := range p.b.list(ctx, pushKey(user, "*", "*")) {
		if err != nil {
			return nil, fmt.Errorf("kv: list push subscriptions: %w", err)
		}
		s := stored{revision: e.revision}
		if err := json.Unmarshal(e.value, &s.PushSubscription); err != nil {
			return nil, fmt.Errorf("kv: list push subscriptions: %w", damaged(e))
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b stored) int { return cmp.Compare(a.revision, b.revision) })
	subscriptions := make([]PushSubscription, len(all))
	for i := range all {
		subscriptions[i] = all[i].PushSubscription
	}
	return subscriptions, nil
}

// Remove removes the subscription of a user with that ID. A missing one is no error.
//
// Errors: only those of NATS and ctx.
func (p *Push) Remove(ctx context.Context, user, id string) error {
	if !ValidID(user) {
		return nil
	}
	if err := p.b.purge(ctx, pushKey(user, id, "*"), 0); err != nil {
		return fmt.Errorf("kv: remove a push subscription: %w", err)
	}
	return nil
}

// RemoveWhere removes the subscriptions of a user for which ended returns true.
//
// Errors: only those of NATS and ctx.
func (p *Push) RemoveWhere(ctx context.Context, user string, ended func(PushSubscription) bool) error {
	all, err := p.List(ctx, user)
	for i := 0; i < len(all) && err == nil; i++ {
		if ended(all[i]) {
			err = p.Remove(ctx, user, all[i].ID())
		}
	}
	return err
}
