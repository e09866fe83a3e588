package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

// Claims of gateways. Two nodes that decide about the same claim at the same time both write its key, with the revision
// that they have read, so one of them decides again.
const (
	gatewayPrefix      = "gateway."
	gatewayAccountsKey = gatewayPrefix + "accounts" // a gatewayClaim
	gatewayUsersPrefix = gatewayPrefix + "users."   // and the name of a gateway; no value
)

// gatewayClaim has the names of the gateways. Those that were removed later may be among them.
type gatewayClaim struct {
	Gateways []string `json:"gateways"`
}

// revisionOf returns the value of a key, nil if there is none, and its revision, from the stream's leader.
func (b *bucket) revisionOf(ctx context.Context, key string) ([]byte, uint64, error) {
	e, err := b.getLeader(ctx, key)
	if errors.Is(err, errKeyNotFound) {
		return nil, 0, nil
	}
	return e.value, e.revision, err
}

// Room returns the part of a registration that refuses it with ErrGatewayFull if a gateway has limit users.
func (u *Users) Room(gateway string, limit int) Part {
	return func(ctx context.Context) (write, error) {
		_, revision, err := u.b.revisionOf(ctx, gatewayUsersPrefix+gateway)
		if err != nil {
			return write{}, err
		}
		n, err := u.CountOwned(ctx, gateway)
		if err == nil && n >= limit {
			err = ErrGatewayFull
		}
		return putAt(gatewayUsersPrefix+gateway, nil, revision), err
	}
}

// claimAccounts returns the write that belongs to a new gateway, and fails if another gateway could register the same
// account. Errors: ErrAttachmentInvalid.
func (a *Attachments) claimAccounts(ctx context.Context, at Attachment) (write, error) {
	value, revision, err := a.b.revisionOf(ctx, gatewayAccountsKey)
	if err != nil {
		return write{}, err
	}
	var claim gatewayClaim
	if value != nil {
		if err := json.Unmarshal(value, &claim); err != nil {
			return write{}, damaged(entry{key: gatewayAccountsKey, value: value, revision: revision})
		}
	}
	all, err := a.List(ctx) // those of earlier versions are not in the claim
	if err != nil {
		return write{}, err
	}
	names := []string{at.Name}
	check := func(other Attachment) error {
		if other.Name == at.Name || other.Role != RoleGateway || slices.Contains(names, other.Name) {
			return nil
		}
		names = append(names, other.Name)
		if at.Overlaps(other) {
			return fmt.Errorf("%w: the gateway %s has the accounts %s: use another beginning", ErrAttachmentInvalid, other.Name, other.Accounts)
		}
		return nil
	}
	for _, other := range all {
		if err := check(other); err != nil {
			return write{}, err
		}
	}
	for _, name := range claim.Gateways { // the replica that was listed may lag
		r, _, err := a.read(ctx, name)
		if err == nil {
			err = check(r.Attachment)
		}
		if err != nil && !errors.Is(err, ErrAttachmentNotFound) {
			return write{}, err
		}
	}
	slices.Sort(names)
	text, err := json.Marshal(gatewayClaim{names})
	return putAt(gatewayAccountsKey, text, revision), err
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
