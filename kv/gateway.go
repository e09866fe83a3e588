package kv

import (
	"context"
	"fmt"
	"strings"
)

// A gateway is an attachment that speaks for users of its own. The record of such a user has the name of the gateway,
// and a key lists the user among those of the gateway.

const ownedPrefix = "owned."

// ownedKey returns the key that lists the user among those of its gateway, "" for a user without one.
func (u User) ownedKey() string {
	if u.Gateway == "" {
		return ""
	}
	return ownedPrefix + u.Gateway + "." + u.ID
}

// ownedWrites returns the writes of a new user's ownedKey.
func ownedWrites(u User) []write {
	if key := u.ownedKey(); key != "" {
		return []write{putAt(key, nil, 0)}
	}
	return nil
}

// Owned returns up to limit ids of users of a gateway, in the order in which they were created, and the cursor of the
// next page, 0 after the last one. after is such a cursor, or 0 for the first page.
//
// Errors: only those of NATS and ctx.
func (u *Users) Owned(ctx context.Context, gateway string, after uint64, limit int) (ids []string, next uint64, err error) {
	if !validAttachmentName(gateway) {
		return nil, 0, nil
	}
	filter := ownedPrefix + gateway + "."
	p, err := u.b.nextPage(ctx, filter+"*", after, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("kv: list the users of a gateway: %w", err)
	}
	for _, e := range p.entries {
		if !e.deleted {
			ids = append(ids, strings.TrimPrefix(e.key, filter))
		}
	}
	if p.pending > 0 {
		next = p.last()
	}
	return ids, next, nil
}

// CountOwned returns the number of users of a gateway. Errors: only those of NATS and ctx.
func (u *Users) CountOwned(ctx context.Context, gateway string) (int, error) {
	if !validAttachmentName(gateway) {
		return 0, nil
	}
	p, err := u.b.nextPage(ctx, ownedPrefix+gateway+".*", 0, 1)
	if err != nil {
		return 0, fmt.Errorf("kv: count the users of a gateway: %w", err)
	}
	return len(p.entries) + p.pending, nil
}

// Owner returns the gateway of a user, "" for none, and whether the user is disabled. It reads from the stream's leader,
// so that a change that was answered is never missed. Errors: ErrUserNotFound.
func (u *Users) Owner(ctx context.Context, id string) (gateway string, disabled bool, err error) {
	user, _, err := u.read(ctx, id, true)
	if err != nil {
		return "", false, fmt.Errorf("kv: get a user: %w", err)
	}
	return user.Gateway, user.Disabled, nil
}

// ValidGateway reports whether a user's record may have that gateway: the name of an attachment, or "" for none.
func ValidGateway(name string) bool { return name == "" || validAttachmentName(name) }

// MayRegister reports whether a gateway may register an account.
func (a Attachment) MayRegister(account string) bool {
	begin, ok := strings.CutSuffix(a.Accounts, "*")
	if !ok || a.Role != RoleGateway {
		return false
	}
	rest, ok := strings.CutPrefix(FoldAccount(account), FoldAccount(begin))
	return ok && rest != ""
}

// Reserves reports whether only a gateway may register an account: the gateway may register it, or the account begins
// with what looks like the beginning of the gateway's accounts.
func (a Attachment) Reserves(account string) bool {
	begin, ok := strings.CutSuffix(a.Accounts, "*")
	if !ok || a.Role != RoleGateway {
		return false
	}
	for _, form := range []string{FoldAccount(account), account} {
		look := skeleton(form)
		for _, b := range looksOfBeginning(begin) {
			if rest, found := strings.CutPrefix(look, b); found && rest != "" {
				return true
			}
		}
	}
	return a.MayRegister(account)
}

// looksOfBeginning returns the looks that the beginning of an account may have: as it is, and in one case.
func looksOfBeginning(begin string) []string {
	return []string{skeleton(begin), skeleton(FoldAccount(begin)), skeleton(strings.ToUpper(begin))}
}

// Overlaps reports whether two gateways could register the same account, or accounts that begin alike to the eye.
func (a Attachment) Overlaps(b Attachment) bool {
	if a.Role != RoleGateway || b.Role != RoleGateway {
		return false
	}
	for i, x := range looksOfBeginning(strings.TrimSuffix(a.Accounts, "*")) {
		y := looksOfBeginning(strings.TrimSuffix(b.Accounts, "*"))[i]
		if strings.HasPrefix(x, y) || strings.HasPrefix(y, x) {
			return true
		}
	}
	return false
}

// OpenSession notes that a gateway has opened a session on a node. It returns the revision of the record, which is higher
// for a later session.
//
// Errors: ErrAttachmentNotFound, also for another role and for a revoked secret, ErrConflict, ErrReadOnly.
func (a *Attachments) OpenSession(ctx context.Context, name, node string) (uint64, error) {
	var opened uint64
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		r, revision, err := a.read(ctx, name)
		if err != nil {
			return err
		}
		if r.Role != RoleGateway || !r.Confirmed || r.SecretHash == "" {
			return ErrAttachmentNotFound
		}
		r.Session, r.Seen = node, now()
		opened, err = a.writeRevision(ctx, r, revision)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("kv: open a session of a gateway: %w", err)
	}
	return opened, nil
}
