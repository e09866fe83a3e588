package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Profile has what a user shows to others.
type Profile struct {
	Name     string `json:"name"`
	Picture  string `json:"picture,omitempty"`
	Sex      string `json:"sex,omitempty"`
	Birthday string `json:"birthday,omitempty"`
	Sign     string `json:"sign,omitempty"`
}

// User is an account with its profile.
type User struct {
	ID           string `json:"id"`      // set by Create; never changes, and is never used again
	Account      string `json:"account"` // as it was registered; compared folded; never changes
	PasswordHash string `json:"password"`
	Mail         string `json:"mail,omitempty"`
	// MailUnverified is set while the user has not shown that it reads Mail. Records of older versions, accounts that
	// administrators create, and accounts of a server that sends no mail do not have it: their addresses count as
	// verified.
	MailUnverified bool `json:"mail_unverified,omitempty"`
	Profile
	Created  time.Time `json:"created"`
	Disabled bool      `json:"disabled,omitempty"`
	External External  `json:"external,omitzero"`

	Gateway string `json:"gateway,omitempty"` // name of the gateway that speaks for the user; never changes
}

// External says who checks the sign-in of a user whose password the server does not have. It is zero for a user with a
// password of this server, and for all users of older versions.
type External struct {
	Source  string `json:"source,omitempty"`  // "nats", "jwt" or "oidc"
	Issuer  string `json:"issuer,omitempty"`  // of the tokens; "" for nats
	Subject string `json:"subject,omitempty"` // the user as the source knows it, which outlasts a rename; "": unknown
	// The profile as the source gave it last. What the user has changed since differs from it. Picture is a hash.
	Name    string `json:"name,omitempty"`
	Mail    string `json:"mail,omitempty"`
	Picture string `json:"picture,omitempty"`
}

// String returns the user's id and nothing else, so that no format verb writes a password hash to a log.
func (u User) String() string { return "user " + u.ID }

// LogValue returns the same for slog.
func (u User) LogValue() slog.Value { return slog.StringValue(u.String()) }

// Users is the bucket of users. For each user it has a record, a claim that makes the folded account unique,
// claims that keep other accounts from looking like it, and a key by which the name is found.
type Users struct {
	b   *bucket
	log *slog.Logger
}

// userRecord is a user as it is stored.
type userRecord struct {
	User
	NameAt   uint64 `json:"name_at,omitempty"`  // the revision in the key of the name; see nameKey
	Deletion string `json:"deletion,omitempty"` // the key of the note while the user is being deleted
}

func userKey(id string) string        { return "user." + id }
func accountKey(folded string) string { return "account." + encode(folded) }

// nameKey returns the key of a name that a user took when the user's record was at the given revision, 0 at
// registration. So a user who takes a name again gets another key, and no key is written twice.
func nameKey(folded, id string, revision uint64) string {
	key := "name." + nameTokens(folded) + "." + id
	if revision > 0 {
		key += "-" + strconv.FormatUint(revision, 36)
	}
	return key
}

// nameOf returns the tokens of the name and the id of the user in a name's key.
func nameOf(key string) (tokens, id string) {
	key = strings.TrimPrefix(key, "name.")
	last := strings.LastIndexByte(key, '.')
	id, _, _ = strings.Cut(key[last+1:], "-")
	return key[:max(last, 0)], id
}

// nameKey returns the key of the user's name, "" for a user without a name.
func (r userRecord) nameKey() string {
	folded := FoldAccount(r.Name)
	if folded == "" {
		return ""
	}
	return nameKey(folded, r.ID, r.NameAt)
}

// Create registers an account: it writes record, claims, name and parts in one batch. It sets the id and, unless it is
// set, the time of creation. It returns the user as it is stored.
//
// Errors: those of the parts, ErrAccountExists, ErrAccountLooksAlike, ErrAccountEmpty, ErrConflict.
func (u *Users) Create(ctx context.Context, user User, parts ...Part) (User, error) {
	if FoldAccount(user.Account) == "" {
		return User{}, ErrAccountEmpty
	}
	user.ID = NewID()
	if user.Created.IsZero() {
		user.Created = now()
	}
	r := userRecord{User: user}
	record, err := json.Marshal(r)
	if err != nil {
		return User{}, fmt.Errorf("kv: encode a user: %w", err)
	}
	err = compareAndSwap(ctx, func(ctx context.Context) error {
		more, err := writesOf(ctx, parts) // before the claims: a caller without an invite is not told of the account
		if err != nil {
			return err
		}
		if err := u.available(ctx, user.Account); err != nil {
			return err
		}
		writes := claims(user)
		if key := r.nameKey(); key != "" {
			writes = append(writes, putAt(key, nil, 0))
		}
		writes = append(writes, ownedWrites(user)...)
		writes = append(writes, more...)
		// The record comes last, here and in Update, so that a list that has read the last record is complete.
		writes = append(writes, putAt(userKey(user.ID), record, 0))
		_, err = u.b.write(ctx, writes...)
		return err
	})
	if err != nil {
		return User{}, fmt.Errorf("kv: create an account: %w", err)
	}
	return user, nil
}

// claims returns the writes of the keys that make a user's account unique.
func claims(user User) []write {
	var writes []write
	for _, key := range claimKeys(user.Account) {
		writes = append(writes, putAt(key, []byte(user.ID), 0))
	}
	return writes
}

// Available returns nil if an account can be created. Errors: ErrAccountExists, ErrAccountLooksAlike.
func (u *Users) Available(ctx context.Context, account string) error {
	if err := u.available(ctx, account); err != nil {
		return fmt.Errorf("kv: look up an account: %w", err)
	}
	return nil
}

// available returns nil if no user has a claim of the account. Errors: ErrAccountExists, ErrAccountLooksAlike.
func (u *Users) available(ctx context.Context, account string) error {
	if _, claimed, err := u.claim(ctx, accountKey(FoldAccount(account))); err != nil {
		return err
	} else if claimed {
		return ErrAccountExists
	}
	return u.lookFree(ctx, account)
}

// lookFree returns nil if no user has a claim of the account's looks. Errors: ErrAccountLooksAlike.
func (u *Users) lookFree(ctx context.Context, account string) error {
	for _, key := range lookKeys(account) {
		if _, claimed, err := u.claim(ctx, key); err != nil {
			return err
		} else if claimed {
			return ErrAccountLooksAlike
		}
	}
	return nil
}

// claim returns the id of the user that the account belongs to. It removes a claim that outlived its user because the
// deletion was interrupted.
func (u *Users) claim(ctx context.Context, key string) (id string, claimed bool, err error) {
	claim, err := u.b.get(ctx, key, true)
	if errors.Is(err, errKeyNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if claim.deleted { // by another program: this package purges claims, and a delete marker would block the next claim
		return "", false, u.b.purge(ctx, key, claim.revision+1)
	}
	id = string(claim.value)
	record, err := u.b.get(ctx, userKey(id), true)
	if err != nil && !errors.Is(err, errKeyNotFound) {
		return "", false, err
	}
	// If the record is missing, or was deleted before the claim was made, a batch is writing it together with the
	// claim.
	if err != nil || !record.deleted || record.revision < claim.revision {
		return id, true, nil
	}
	return "", false, u.b.purge(ctx, key, claim.revision+1)
}

// Get returns the user with this id. Errors: ErrUserNotFound.
func (u *Users) Get(ctx context.Context, id string) (User, error) {
	user, _, err := u.read(ctx, id, false)
	if err != nil {
		return User{}, fmt.Errorf("kv: get a user: %w", err)
	}
	return user, nil
}

// ByAccount returns the user with this account, compared folded. It reads two keys in any case, so that its duration
// does not tell whether the user exists.
//
// Errors: ErrUserNotFound.
func (u *Users) ByAccount(ctx context.Context, account string) (User, error) {
	folded := FoldAccount(account)
	if folded == "" {
		return User{}, fmt.Errorf("kv: look up an account: %w", ErrUserNotFound)
	}
	claim, err := u.b.get(ctx, accountKey(folded), false)
	id := string(claim.value)
	if errors.Is(err, errKeyNotFound) || err == nil && claim.deleted {
		id, err = NewID(), nil // of no user
	}
	if err != nil {
		return User{}, fmt.Errorf("kv: look up an account: %w", err)
	}
	return u.Get(ctx, id)
}

// GetMany returns the users with these ids, by id. Users that do not exist are not in the map.
//
// Errors: only those of NATS and ctx.
func (u *Users) GetMany(ctx context.Context, ids []string) (map[string]User, error) {
	keys := make([]string, 0, len(ids))
	for _, id := range ids {
		if ValidID(id) {
			keys = append(keys, userKey(id))
		}
	}
	entries, err := u.b.getMany(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("kv: get users: %w", err)
	}
	users := make(map[string]User, len(entries))
	for _, e := range entries {
		user, err := decodeUser(e)
		if err != nil {
			return nil, fmt.Errorf("kv: get users: %w", err)
		}
		users[user.ID] = user
	}
	return users, nil
}

// Update calls change with the user, stores the result and returns it. After a conflict it calls change again with
// the new record. An error of change ends the update and is returned. Update ignores changes of id, account, gateway
// and time of creation. It does not write an unchanged user.
//
// Errors: ErrUserNotFound, ErrConflict, and those of change.
func (u *Users) Update(ctx context.Context, id string, change func(*User) error) (User, error) {
	var after User
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		before, revision, err := u.readRecord(ctx, id, true)
		if err != nil {
			return err
		}
		after = before.User
		if err := change(&after); err != nil {
			return err
		}
		after.ID, after.Account, after.Created, after.Gateway = before.ID, before.Account, before.Created, before.Gateway
		if after == before.User {
			return nil
		}
		return u.replace(ctx, before, after, revision)
	})
	if err != nil {
		return User{}, fmt.Errorf("kv: update a user: %w", err)
	}
	return after, nil
}

// replace writes a user's new record, and the key of the name if the name has changed.
func (u *Users) replace(ctx context.Context, before userRecord, after User, revision uint64) error {
	r := before
	r.User = after
	var note unfinished
	if !after.Disabled && before.Deletion != "" { // enabling the user ends its deletion
		r.Deletion, note.Purge = "", []string{before.Deletion}
	}
	// The record's revision guards the name too: only this user's writes change its key.
	var writes []write
	if nameTokens(FoldAccount(before.Name)) != nameTokens(FoldAccount(after.Name)) {
		r.NameAt = revision
		if key := before.nameKey(); key != "" {
			note.Purge = append(note.Purge, key)
		}
		if key := r.nameKey(); key != "" {
			writes = append(writes, putAt(key, nil, 0))
		}
	}
	record, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a user: %w", err)
	}
	return u.writeAndFinish(ctx, note, append(writes, putAt(userKey(r.ID), record, revision)))
}

// writeAndFinish writes all of writes and a note of the remaining steps in one batch, and then takes these steps.
func (u *Users) writeAndFinish(ctx context.Context, note unfinished, writes []write) error {
	if len(note.Purge) == 0 {
		_, err := u.b.write(ctx, writes...)
		return err
	}
	key := newNoteKey()
	noteWrite, err := note.write(key)
	if err != nil {
		return err
	}
	last, err := u.b.write(ctx, append([]write{noteWrite}, writes...)...)
	if err != nil {
		return err
	}
	// The change is made. If the purges fail, the next start completes them. Until then the keys have no effect.
	if err := u.b.finish(ctx, key, note, last+1); err != nil {
		u.log.Warn("cannot purge unused keys; the next start purges them", "err", err)
	}
	return nil
}

// BeginDelete disables the user and notes the deletion, so that a start completes a deletion that is interrupted. It
// returns the user, and whether the user was enabled before. If the user is enabled again, the deletion is canceled.
//
// Errors: ErrUserNotFound, ErrConflict.
func (u *Users) BeginDelete(ctx context.Context, id string) (user User, enabled bool, err error) {
	err = compareAndSwap(ctx, func(ctx context.Context) error {
		r, revision, err := u.readRecord(ctx, id, true)
		if err != nil {
			return err
		}
		enabled = !r.Disabled
		r.Disabled = true
		user = r.User
		if r.Deletion != "" && !enabled {
			return nil
		}
		r.Deletion = newNoteKey()
		note, err := unfinished{Delete: id}.write(r.Deletion)
		if err != nil {
			return err
		}
		record, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode a user: %w", err)
		}
		_, err = u.b.write(ctx, note, putAt(userKey(id), record, revision))
		return err
	})
	if err != nil {
		return User{}, false, fmt.Errorf("kv: begin to delete a user: %w", err)
	}
	return user, enabled, nil
}

// Delete removes the user with its claims and name. The account is free again. The caller must remove tokens and
// roster through Tokens and Rosters. A delete marker replaces the record, and is never removed.
//
// Errors: ErrUserNotFound, ErrConflict.
func (u *Users) Delete(ctx context.Context, id string) error {
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		r, revision, err := u.readRecord(ctx, id, true)
		if err != nil {
			return err
		}
		var note unfinished
		for _, key := range claimKeys(r.Account) {
			claim, err := u.b.get(ctx, key, true)
			if err != nil && !errors.Is(err, errKeyNotFound) {
				return err
			}
			if err == nil && string(claim.value) == id { // else the key belongs to another user
				note.Purge = append(note.Purge, claim.key)
			}
		}
		for _, key := range []string{r.nameKey(), r.ownedKey(), r.Deletion} {
			if key != "" {
				note.Purge = append(note.Purge, key)
			}
		}
		return u.writeAndFinish(ctx, note, []write{putAt(userKey(id), nil, revision).asMarker()})
	})
	if err != nil {
		return fmt.Errorf("kv: delete a user: %w", err)
	}
	return nil
}

// read returns the user and its revision, or ErrUserNotFound.
func (u *Users) read(ctx context.Context, id string, fresh bool) (User, uint64, error) {
	r, revision, err := u.readRecord(ctx, id, fresh)
	return r.User, revision, err
}

// readRecord returns the user's record and its revision, or ErrUserNotFound.
func (u *Users) readRecord(ctx context.Context, id string, fresh bool) (userRecord, uint64, error) {
	if !ValidID(id) {
		return userRecord{}, 0, ErrUserNotFound
	}
	e, err := u.b.get(ctx, userKey(id), fresh)
	if errors.Is(err, errKeyNotFound) || err == nil && e.deleted {
		return userRecord{}, 0, ErrUserNotFound
	}
	if err != nil {
		return userRecord{}, 0, err
	}
	r, err := decodeUserRecord(e)
	return r, e.revision, err
}

func decodeUser(e entry) (User, error) {
	r, err := decodeUserRecord(e)
	return r.User, err
}

func decodeUserRecord(e entry) (userRecord, error) {
	var r userRecord
	if err := json.Unmarshal(e.value, &r); err != nil {
		return userRecord{}, damaged(e)
	}
	r.ID = strings.TrimPrefix(e.key, userKey("")) // the key decides, even if the record has another id
	return r, nil
}

// now returns the time as records have it: in UTC and in whole seconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
