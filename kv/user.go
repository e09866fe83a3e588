package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Profile is what a user shows of itself.
type Profile struct {
	Name     string `json:"name"`
	Picture  string `json:"picture,omitempty"`
	Sex      string `json:"sex,omitempty"`
	Birthday string `json:"birthday,omitempty"`
	Sign     string `json:"sign,omitempty"`
}

// User is an account with its profile, as it is stored.
type User struct {
	ID           string `json:"id"`      // given by Create; never changes, never used again
	Account      string `json:"account"` // as it was registered; compared folded; never changes
	PasswordHash string `json:"password"`
	Mail         string `json:"mail,omitempty"`
	Profile
	Created  time.Time `json:"created"`
	Disabled bool      `json:"disabled,omitempty"`
}

// String names the user and nothing else, so that no format verb puts a password hash into a log.
func (u User) String() string { return "user " + u.ID }

// LogValue is String's counterpart for slog.
func (u User) LogValue() slog.Value { return slog.StringValue(u.String()) }

// Users is the bucket of accounts. Beside a user's record it has the claim that makes the folded
// account unique, and a key under which the name is found.
type Users struct {
	b         *bucket
	log       *slog.Logger
	markerTTL time.Duration
}

func userKey(id string) string         { return "user." + id }
func accountKey(folded string) string  { return "account." + encode(folded) }
func nameKey(folded, id string) string { return "name." + nameTokens(folded) + "." + id }

// Create registers an account: record, claim and name at once. The id and, where it is not set,
// the time of creation are given here. Returns the user as stored.
//
// Errors: ErrAccountExists, ErrAccountEmpty, ErrConflict.
func (u *Users) Create(ctx context.Context, user User) (User, error) {
	folded := FoldAccount(user.Account)
	if folded == "" {
		return User{}, ErrAccountEmpty
	}
	user.ID = NewID()
	if user.Created.IsZero() {
		user.Created = now()
	}
	record, err := json.Marshal(user)
	if err != nil {
		return User{}, fmt.Errorf("kv: encode a user: %w", err)
	}
	err = swap(ctx, func(ctx context.Context) error {
		claim, err := u.b.get(ctx, accountKey(folded), true)
		switch {
		case errors.Is(err, errNoKey):
		case err != nil:
			return err
		case !claim.deleted:
			return ErrAccountExists
		}
		writes := []write{putAt(accountKey(folded), []byte(user.ID), claim.revision)}
		if name := FoldAccount(user.Name); name != "" {
			writes = append(writes, putAt(nameKey(name, user.ID), nil, 0))
		}
		// Last, here and in Update: so a list that has come to the last record has come to the end.
		writes = append(writes, putAt(userKey(user.ID), record, 0))
		_, err = u.b.write(ctx, writes...)
		return err
	})
	if err != nil {
		return User{}, fmt.Errorf("kv: create an account: %w", err)
	}
	return user, nil
}

// Get returns the user with this id. Errors: ErrUserNotFound.
func (u *Users) Get(ctx context.Context, id string) (User, error) {
	user, _, err := u.read(ctx, id, false)
	if err != nil {
		return User{}, fmt.Errorf("kv: get a user: %w", err)
	}
	return user, nil
}

// ByAccount returns the user whose account is the same after folding. Errors: ErrUserNotFound.
func (u *Users) ByAccount(ctx context.Context, account string) (User, error) {
	folded := FoldAccount(account)
	if folded == "" {
		return User{}, fmt.Errorf("kv: look an account up: %w", ErrUserNotFound)
	}
	claim, err := u.b.get(ctx, accountKey(folded), false)
	if errors.Is(err, errNoKey) || err == nil && claim.deleted {
		err = ErrUserNotFound
	}
	if err != nil {
		return User{}, fmt.Errorf("kv: look an account up: %w", err)
	}
	return u.Get(ctx, string(claim.value))
}

// GetMany returns the users with these ids, by id. Those that are not there are not in the map.
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

// Update lets change alter the user and stores the outcome, which it returns. change may be called
// several times, with the record as it is each time; its error ends the update and is returned.
// Id, account and time of creation stay as they are whatever change does to them. What change leaves
// as it was is not written.
//
// Errors: ErrUserNotFound, ErrConflict, and change's own.
func (u *Users) Update(ctx context.Context, id string, change func(*User) error) (User, error) {
	var after User
	err := swap(ctx, func(ctx context.Context) error {
		before, revision, err := u.read(ctx, id, true)
		if err != nil {
			return err
		}
		after = before
		if err := change(&after); err != nil {
			return err
		}
		after.ID, after.Account, after.Created = before.ID, before.Account, before.Created
		if after == before {
			return nil
		}
		record, err := json.Marshal(after)
		if err != nil {
			return fmt.Errorf("encode a user: %w", err)
		}
		// The record's revision guards the name too: only this user's writes touch its key.
		var writes []write
		was, is := FoldAccount(before.Name), FoldAccount(after.Name)
		if nameTokens(was) != nameTokens(is) {
			if was != "" {
				writes = append(writes, put(nameKey(was, id), nil).asMarker(u.markerTTL))
			}
			if is != "" {
				writes = append(writes, put(nameKey(is, id), nil))
			}
		}
		_, err = u.b.write(ctx, append(writes, putAt(userKey(id), record, revision))...)
		return err
	})
	if err != nil {
		return User{}, fmt.Errorf("kv: update a user: %w", err)
	}
	return after, nil
}

// Delete removes the user, its claim and its name at once; the account is free again. Tokens and
// friendships are the other stores'.
//
// Errors: ErrUserNotFound, ErrConflict.
func (u *Users) Delete(ctx context.Context, id string) error {
	err := swap(ctx, func(ctx context.Context) error {
		user, revision, err := u.read(ctx, id, true)
		if err != nil {
			return err
		}
		writes := []write{putAt(userKey(id), nil, revision).asMarker(u.markerTTL)}
		claim, claimed, err := u.claim(ctx, user)
		if err != nil {
			return err
		}
		if claimed {
			writes = append(writes, putAt(claim.key, nil, claim.revision).asMarker(u.markerTTL))
		}
		if name := FoldAccount(user.Name); name != "" {
			writes = append(writes, put(nameKey(name, id), nil).asMarker(u.markerTTL))
		}
		last, err := u.b.write(ctx, writes...)
		if err != nil {
			return err
		}
		// The marker of the record would be counted as a user until it vanishes. Should this
		// fail, it goes by itself.
		if err := u.b.purge(ctx, userKey(id), last+1); err != nil {
			u.log.Debug("a deleted user is counted for a while", "user", id, "error", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("kv: delete a user: %w", err)
	}
	return nil
}

// read returns the user and its revision, or ErrUserNotFound.
func (u *Users) read(ctx context.Context, id string, fresh bool) (User, uint64, error) {
	if !ValidID(id) {
		return User{}, 0, ErrUserNotFound
	}
	e, err := u.b.get(ctx, userKey(id), fresh)
	if errors.Is(err, errNoKey) || err == nil && e.deleted {
		return User{}, 0, ErrUserNotFound
	}
	if err != nil {
		return User{}, 0, err
	}
	user, err := decodeUser(e)
	return user, e.revision, err
}

func decodeUser(e entry) (User, error) {
	var user User
	if err := json.Unmarshal(e.value, &user); err != nil {
		// Not the decoder's error: it may quote the record.
		return User{}, fmt.Errorf("the record at %s, revision %d, is damaged", e.key, e.revision)
	}
	user.ID = strings.TrimPrefix(e.key, userKey("")) // by which it is found, whatever a damaged record says
	return user, nil
}

// now is the time as records keep it: to the second, which is what they are read by.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
