package kv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Tokens is the bucket of tokens. A key is a user's id and the SHA-256 of the token. So a copy of the bucket gives no
// access, and a filter finds all tokens of a user. The server removes expired tokens.
type Tokens struct {
	b   *bucket
	ttl time.Duration
}

// TokenInfo describes a token. It does not have the token itself.
type TokenInfo struct {
	Hash    string // SHA-256 of the token, in hex
	Session string // the session that the token was issued for
	Issued  time.Time
	Expires time.Time
}

type tokenRecord struct {
	Issued  time.Time `json:"issued"`
	Session string    `json:"session,omitempty"`
}

// TokenHash returns the SHA-256 of a token in hex. Only this may be stored.
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func tokenKey(userID, token string) string { return userID + "." + TokenHash(token) }

// Issue creates a token for a user's session and returns it. Errors: ErrUserNotFound for an invalid id.
func (t *Tokens) Issue(ctx context.Context, userID, session string) (string, error) {
	if !ValidID(userID) {
		return "", fmt.Errorf("kv: issue a token: %w", ErrUserNotFound)
	}
	token := NewID()
	record, err := json.Marshal(tokenRecord{Issued: now(), Session: session})
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
	return info, nil
}

// TTL returns how long a token is valid.
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
	return TokenInfo{Hash: e.key[len(userID)+1:], Session: record.Session, Issued: record.Issued, Expires: e.written.Add(t.ttl)}, nil
}

// RevokeOthers revokes all tokens that the user has at this moment, except the token keep; "" keeps none.
//
// Errors: only those of NATS and ctx.
func (t *Tokens) RevokeOthers(ctx context.Context, userID, keep string) error {
	tokens, err := t.List(ctx, userID)
	if err != nil {
		return err
	}
	kept := TokenHash(keep)
	for _, token := range tokens {
		if token.Hash == kept {
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

// List returns the user's tokens, the oldest first.
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
