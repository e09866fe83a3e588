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

// Tokens is the bucket of tokens: a key is a user's id and the SHA-256 of the token, so a copy of
// the bucket gives nobody access, and all tokens of one user are found by a filter. The server
// removes them when their time is over.
type Tokens struct {
	b   *bucket
	ttl time.Duration
}

// TokenInfo is what is known of a token; the token itself is not.
type TokenInfo struct {
	Hash    string // SHA-256 of the token, in hex
	Session string // for which it was issued
	Issued  time.Time
	Expires time.Time
}

type tokenRecord struct {
	Issued  time.Time `json:"issued"`
	Session string    `json:"session,omitempty"`
}

// TokenHash returns the SHA-256 of a token in hex, which is what may be kept of it.
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func tokenKey(userID, token string) string { return userID + "." + TokenHash(token) }

// Issue makes a token for a user's session. Errors: ErrUserNotFound if userID is no id at all.
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

// Check returns nil for a token of this user that is still good. Errors: ErrTokenInvalid.
func (t *Tokens) Check(ctx context.Context, userID, token string) error {
	_, err := t.Get(ctx, userID, token)
	return err
}

// Get returns what is known of a token of this user that is still good. Errors: ErrTokenInvalid.
func (t *Tokens) Get(ctx context.Context, userID, token string) (TokenInfo, error) {
	if !ValidID(userID) || !ValidID(token) {
		return TokenInfo{}, ErrTokenInvalid
	}
	e, err := t.b.get(ctx, tokenKey(userID, token), false)
	if errors.Is(err, errNoKey) || err == nil && e.deleted {
		return TokenInfo{}, ErrTokenInvalid
	}
	if err != nil {
		return TokenInfo{}, fmt.Errorf("kv: check a token: %w", err)
	}
	info, err := t.info(userID, e)
	if err != nil { // written by somebody else
		return TokenInfo{}, ErrTokenInvalid
	}
	return info, nil
}

// TTL is how long a token is good for.
func (t *Tokens) TTL() time.Duration { return t.ttl }

// GoodHash tells whether a token of this user is still good, for who knows its hash only. The stream's leader says so.
func (t *Tokens) GoodHash(ctx context.Context, userID, hash string) (bool, error) {
	e, err := t.b.get(ctx, userID+"."+hash, true)
	if errors.Is(err, errNoKey) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("kv: check a token: %w", err)
	}
	return !e.deleted, nil
}

func (t *Tokens) info(userID string, e entry) (TokenInfo, error) {
	var record tokenRecord
	if err := json.Unmarshal(e.value, &record); err != nil {
		return TokenInfo{}, err
	}
	return TokenInfo{Hash: e.key[len(userID)+1:], Session: record.Session, Issued: record.Issued, Expires: e.written.Add(t.ttl)}, nil
}

// RevokeOthers ends all tokens of the user that there are at this moment but one, which may be "" for none.
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

// Revoke ends one token at once. A token that is not there is revoked already.
func (t *Tokens) Revoke(ctx context.Context, userID, token string) error {
	if !ValidID(userID) {
		return nil
	}
	if err := t.b.purge(ctx, tokenKey(userID, token), 0); err != nil {
		return fmt.Errorf("kv: revoke a token: %w", err)
	}
	return nil
}

// RevokeHash is Revoke for who knows the token's hash only, as List tells it.
func (t *Tokens) RevokeHash(ctx context.Context, userID, hash string) error {
	if !ValidID(userID) || strings.ContainsFunc(hash, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }) {
		return nil
	}
	if err := t.b.purge(ctx, userID+"."+hash, 0); err != nil {
		return fmt.Errorf("kv: revoke a token: %w", err)
	}
	return nil
}

// RevokeAll ends all tokens that the user has at this moment.
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
func (t *Tokens) List(ctx context.Context, userID string) ([]TokenInfo, error) {
	if !ValidID(userID) {
		return nil, nil
	}
	const most = 256
	var tokens []TokenInfo
	for after := uint64(0); ; {
		p, err := t.b.next(ctx, userID+".*", after, most)
		if err != nil {
			return nil, fmt.Errorf("kv: list tokens: %w", err)
		}
		for _, e := range p.entries {
			if e.deleted {
				continue
			}
			info, err := t.info(userID, e)
			if err != nil {
				continue // written by somebody else; good for nothing, and gone by itself
			}
			tokens = append(tokens, info)
		}
		if p.pending == 0 || len(p.entries) == 0 {
			return tokens, nil
		}
		after = p.last()
	}
}
