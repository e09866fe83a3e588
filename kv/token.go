package kv

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Tokens is the bucket of tokens. A key is a user's id and the SHA-256 of the token. So a copy of the bucket gives no
// access, and a filter finds all tokens of a user. The server removes expired tokens.
type Tokens struct {
	b      *bucket
	ttl    time.Duration
	maxAge time.Duration // from the login with the password; 0: no limit
}

// TokenInfo describes a token. It does not have the token itself.
type TokenInfo struct {
	Hash    string // SHA-256 of the token, in hex
	Session string // the session that the token was issued for
	Issued  time.Time
	Expires time.Time
	Login   time.Time // of the login with the password that the token goes back to; zero for a token of an older version
	Renewed bool      // a login with another token issued it
	Address string    // of the client at the login, as the limits count it; "" if unknown
	Agent   string    // User-Agent of the client at the login; "" if unknown

	removed time.Time // when the server removes the record
}

// HalfOver reports whether more than half of the time is over for which the token's record is stored.
func (i TokenInfo) HalfOver() bool { return time.Until(i.removed) < i.removed.Sub(i.Issued)/2 }

// FirstLogin returns the time of the login with the password that the token goes back to. For a token of an older
// version, which does not have it, this is the time when the token was issued.
func (i TokenInfo) FirstLogin() time.Time { return cmp.Or(i.Login, i.Issued) }

// FreshLogin reports whether a login with the password issued the token within the time d. A renewed token is not
// fresh, nor is one of an older version.
func (i TokenInfo) FreshLogin(d time.Duration) bool {
	return !i.Renewed && !i.Login.IsZero() && time.Since(i.Login) < d
}

// Origin is the login that a token is issued to.
type Origin struct {
	// Login is the FirstLogin of the token by which the client logged in. It is zero for a login with the password.
	Login   time.Time
	Address string // of the client, as the limits count it
	Agent   string // User-Agent of the client, as it was sent; Issue stores at most MaxAgent printable characters
}

// MaxAgent is the longest User-Agent that is stored, in characters.
const MaxAgent = 128

// printable returns the first MaxAgent printable characters of s.
func printable(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == MaxAgent {
			break
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			n++
		}
	}
	return b.String()
}

// tokenRecord is a token as it is stored. Older versions stored only Issued and Session.
type tokenRecord struct {
	Issued  time.Time `json:"issued"`
	Session string    `json:"session,omitempty"`
	Login   time.Time `json:"login,omitzero"`
	Renewed bool      `json:"renewed,omitempty"`
	Address string    `json:"address,omitempty"`
	Agent   string    `json:"agent,omitempty"`
}

// TokenHash returns the SHA-256 of a token in hex. Only this may be stored.
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func tokenKey(userID, token string) string { return userID + "." + TokenHash(token) }

// Issue creates a token for a user's session and returns it. Errors: ErrUserNotFound for an invalid id.
func (t *Tokens) Issue(ctx context.Context, userID, session string, from Origin) (string, error) {
	if !ValidID(userID) {
		return "", fmt.Errorf("kv: issue a token: %w", ErrUserNotFound)
	}
	token := NewID()
	issued := now()
	record, err := json.Marshal(tokenRecord{Issued: issued, Session: session, Login: cmp.Or(from.Login, issued), Renewed: !from.Login.IsZero(),
		Address: from.Address, Agent: printable(from.Agent)})
	if err != nil {
		return "", fmt.Errorf("kv: encode a token: %w", err)
	}
	if _, err := t.b.write(ctx, put(tokenKey(userID, token), record)); err != nil {
		return "", fmt.Errorf("kv: issue a token: %w", err)
	}
	return token, nil
}

// Check returns nil for a valid token of the user. Errors: ErrTokenInvalid.
func (t *Tokens) Check(ctx context.Context, userID, token string) error {
	_, err := t.Get(ctx, userID, token)
	return err
}

// Get describes a valid token of the user. Errors: ErrTokenInvalid.
func (t *Tokens) Get(ctx context.Context, userID, token string) (TokenInfo, error) {
	if !ValidID(userID) || !ValidID(token) {
		return TokenInfo{}, ErrTokenInvalid
	}
	e, err := t.b.get(ctx, tokenKey(userID, token), false)
	if errors.Is(err, errKeyNotFound) || err == nil && e.deleted {
		return TokenInfo{}, ErrTokenInvalid
	}
	if err != nil {
		return TokenInfo{}, fmt.Errorf("kv: check a token: %w", err)
	}
	info, err := t.info(userID, e)
	if err != nil { // another program wrote it
		return TokenInfo{}, ErrTokenInvalid
	}
	if t.tooOld(info) {
		return TokenInfo{}, ErrTokenInvalid
	}
	return info, nil
}

// tooOld reports whether the login with the password that the token goes back to is too long ago. The record of such a
// token may still be stored.
func (t *Tokens) tooOld(info TokenInfo) bool {
	return t.maxAge > 0 && time.Since(info.FirstLogin()) >= t.maxAge
}

// SeenFrom reports whether a valid token of the user was issued to a login from that client address.
//
// Errors: only those of NATS and ctx.
func (t *Tokens) SeenFrom(ctx context.Context, userID, address string) (bool, error) {
	if address == "" {
		return false, nil
	}
	tokens, err := t.List(ctx, userID)
	if err != nil {
		return false, err
	}
	for _, info := range tokens {
		if info.Address == address && !t.tooOld(info) {
			return true, nil
		}
	}
	return false, nil
}

// TTL returns how long a token is valid, unless the login with the password is too long ago before.
func (t *Tokens) TTL() time.Duration { return t.ttl }

// ValidHash reports whether the token of the user with this hash is valid. It reads from the stream's leader.
//
// Errors: only those of NATS and ctx.
func (t *Tokens) ValidHash(ctx context.Context, userID, hash string) (bool, error) {
	e, err := t.b.get(ctx, userID+"."+hash, true)
	if errors.Is(err, errKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("kv: check a token: %w", err)
	}
	return !e.deleted, nil
}

// info decodes a token's record.
func (t *Tokens) info(userID string, e entry) (TokenInfo, error) {
	var record tokenRecord
	if err := json.Unmarshal(e.value, &record); err != nil {
		return TokenInfo{}, err
	}
	info := TokenInfo{Hash: e.key[len(userID)+1:], Session: record.Session, Issued: record.Issued, Login: record.Login, Renewed: record.Renewed,
		Address: record.Address, Agent: record.Agent, removed: e.written.Add(t.ttl)}
	info.Expires = info.removed
	if t.maxAge > 0 {
		if end := info.FirstLogin().Add(t.maxAge); end.Before(info.Expires) {
			info.Expires = end
		}
	}
	return info, nil
}

// RevokeAllBut revokes all tokens that the user has at this moment, except the token with the hash keep; "" keeps none.
//
// Errors: only those of NATS and ctx.
func (t *Tokens) RevokeAllBut(ctx context.Context, userID, keep string) error {
	tokens, err := t.List(ctx, userID)
	if err != nil {
		return err
	}
	for _, token := range tokens {
		if token.Hash == keep {
			continue
		}
		if err := t.b.purge(ctx, userID+"."+token.Hash, 0); err != nil {
			return fmt.Errorf("kv: revoke tokens: %w", err)
		}
	}
	return nil
}

// Revoke revokes a token. A missing token is no error.
//
// Errors: only those of NATS and ctx.
func (t *Tokens) Revoke(ctx context.Context, userID, token string) error {
	if !ValidID(userID) {
		return nil
	}
	if err := t.b.purge(ctx, tokenKey(userID, token), 0); err != nil {
		return fmt.Errorf("kv: revoke a token: %w", err)
	}
	return nil
}

// RevokeHash revokes the token with this hash, which List returns. A missing token is no error.
//
// Errors: only those of NATS and ctx.
func (t *Tokens) RevokeHash(ctx context.Context, userID, hash string) error {
	if !ValidID(userID) || strings.ContainsFunc(hash, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }) {
		return nil
	}
	if err := t.b.purge(ctx, userID+"."+hash, 0); err != nil {
		return fmt.Errorf("kv: revoke a token: %w", err)
	}
	return nil
}

// RevokeAll revokes all tokens that the user has at this moment.
//
// Errors: only those of NATS and ctx.
func (t *Tokens) RevokeAll(ctx context.Context, userID string) error {
	if !ValidID(userID) {
		return nil
	}
	if err := t.b.purge(ctx, userID+".*", 0); err != nil {
		return fmt.Errorf("kv: revoke tokens: %w", err)
	}
	return nil
}

// List returns the user's tokens, the oldest first. A token whose login is too long ago is listed until its record is
// removed; its Expires is in the past.
//
// Errors: only those of NATS and ctx.
func (t *Tokens) List(ctx context.Context, userID string) ([]TokenInfo, error) {
	if !ValidID(userID) {
		return nil, nil
	}
	var tokens []TokenInfo
	for e, err := range t.b.list(ctx, userID+".*") {
		if err != nil {
			return nil, fmt.Errorf("kv: list tokens: %w", err)
		}
		info, err := t.info(userID, e)
		if err != nil {
			continue // another program wrote it; it is not valid, and it expires
		}
		tokens = append(tokens, info)
	}
	return tokens, nil
}
