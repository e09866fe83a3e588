package kv

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrInvite: no invite has this secret or id, or the invite is used up, has expired or was revoked.
var ErrInvite = errors.New("invite is not valid")

// Invite allows a number of registrations.
type Invite struct {
	ID      string    `json:"id"`   // the beginning of the hash of its secret
	Note    string    `json:"note"` // for administrators
	Uses    int       `json:"uses"` // how many accounts may be created with it
	Used    int       `json:"used"` // how many were created
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // omitted for never
}

// Expired reports whether the invite is too old at that time.
func (i Invite) Expired(at time.Time) bool { return !i.Expires.IsZero() && !at.Before(i.Expires) }

// inviteRecord is an invite as it is stored. The secret is random, so that a fast hash is enough.
type inviteRecord struct {
	Invite
	SecretHash string `json:"secret_hash"` // SHA-256 in hex
}

// Invites stores the invites, in the bucket of users. Invites that are used up or have expired stay until they are
// revoked, so that a list shows them.
type Invites struct {
	b *bucket
}

// inviteIDLength is the length of an invite's id, in hex digits.
const inviteIDLength = 16

func inviteKey(id string) string { return "invite." + id }

func inviteID(hash string) string { return hash[:inviteIDLength] }

// validInviteID reports whether s has the form of an invite's id, which becomes a part of a subject.
func validInviteID(s string) bool {
	return len(s) == inviteIDLength && ValidID(s+s)
}

// Create stores an invite, and returns it with its secret, which is not stored. Create sets id and time of creation,
// and ignores Used.
//
// Errors: ErrConflict.
func (i *Invites) Create(ctx context.Context, invite Invite) (Invite, string, error) {
	invite.Created, invite.Used = now(), 0
	var secret string
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		secret = NewID()
		hash := hashSecret(secret)
		invite.ID = inviteID(hash)
		w, err := inviteRecord{invite, hash}.write(0)
		if err == nil {
			_, err = i.b.write(ctx, w)
		}
		return err
	})
	if err != nil {
		return Invite{}, "", fmt.Errorf("kv: create an invite: %w", err)
	}
	return invite, secret, nil
}

// Check returns the invite with this secret, if a registration may use it now. Errors: ErrInvite.
func (i *Invites) Check(ctx context.Context, secret string) (Invite, error) {
	r, _, err := i.usable(ctx, secret)
	if err != nil {
		return Invite{}, fmt.Errorf("kv: check an invite: %w", err)
	}
	return r.Invite, nil
}

// Use returns the part of a registration that counts one use of the invite with this secret. Errors of the part:
// ErrInvite.
func (i *Invites) Use(secret string) Part {
	return func(ctx context.Context) (write, error) {
		r, revision, err := i.usable(ctx, secret)
		if err != nil {
			return write{}, err
		}
		r.Used++
		return r.write(revision)
	}
}

// List returns all invites, oldest first.
//
// Errors: only those of NATS and ctx.
func (i *Invites) List(ctx context.Context) ([]Invite, error) {
	latest := make(map[string]Invite) // an invite that is used meanwhile occurs twice
	for e, err := range i.b.list(ctx, inviteKey("*")) {
		var r inviteRecord
		if err == nil {
			r, err = decodeInvite(e)
		}
		if err != nil {
			return nil, fmt.Errorf("kv: list the invites: %w", err)
		}
		latest[r.ID] = r.Invite
	}
	all := make([]Invite, 0, len(latest))
	for _, invite := range latest {
		all = append(all, invite)
	}
	slices.SortFunc(all, func(x, y Invite) int { return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.ID, y.ID)) })
	return all, nil
}

// Revoke removes the invite with this id, and returns it. Accounts that were created with it stay. Errors: ErrInvite,
// ErrConflict.
func (i *Invites) Revoke(ctx context.Context, id string) (Invite, error) {
	var revoked Invite
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		r, revision, err := i.read(ctx, id)
		if err != nil {
			return err
		}
		revoked = r.Invite
		_, err = i.b.write(ctx, putAt(inviteKey(id), nil, revision).asMarker())
		return err
	})
	if err != nil {
		return Invite{}, fmt.Errorf("kv: revoke an invite: %w", err)
	}
	return revoked, nil
}

// usable returns the invite with this secret and its revision. Errors: ErrInvite.
func (i *Invites) usable(ctx context.Context, secret string) (inviteRecord, uint64, error) {
	if secret == "" {
		return inviteRecord{}, 0, ErrInvite
	}
	hash := hashSecret(secret)
	r, revision, err := i.read(ctx, inviteID(hash))
	if err != nil {
		return inviteRecord{}, 0, err
	}
	if subtle.ConstantTimeCompare([]byte(hash), []byte(r.SecretHash)) != 1 || r.Used >= r.Uses || r.Expired(now()) {
		return inviteRecord{}, 0, ErrInvite
	}
	return r, revision, nil
}

// read returns an invite's record and its revision from the stream's leader. Errors: ErrInvite.
func (i *Invites) read(ctx context.Context, id string) (inviteRecord, uint64, error) {
	if !validInviteID(id) {
		return inviteRecord{}, 0, ErrInvite
	}
	e, err := i.b.get(ctx, inviteKey(id), true)
	if errors.Is(err, errKeyNotFound) || err == nil && e.deleted {
		return inviteRecord{}, 0, ErrInvite
	}
	if err != nil {
		return inviteRecord{}, 0, err
	}
	r, err := decodeInvite(e)
	return r, e.revision, err
}

func (r inviteRecord) write(revision uint64) (write, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return write{}, fmt.Errorf("encode an invite: %w", err)
	}
	return putAt(inviteKey(r.ID), value, revision), nil
}

func decodeInvite(e entry) (inviteRecord, error) {
	var r inviteRecord
	if err := json.Unmarshal(e.value, &r); err != nil {
		return inviteRecord{}, damaged(e)
	}
	return r, nil
}
