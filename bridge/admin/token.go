package admin

import (
	"context"
	"strings"
	"time"

	"imctl/bridge/cluster"
	"imctl/kv"
)

// ListTokens requests a page of a user's tokens.
type ListTokens struct {
	User  string `json:"user"`
	After string `json:"after,omitempty"` // the Next of the previous page
	Limit int    `json:"limit,omitempty"` // 1 to MaxPage; 0 is MaxPage
}

// Token describes a token. The token itself is not stored.
type Token struct {
	Hash    string    `json:"hash"`    // SHA-256, in hex
	Session string    `json:"session"` // session that it was issued for
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Login   time.Time `json:"login,omitzero"` // login with the password that it goes back to; omitted if unknown
	Address string    `json:"address"`        // of the client at the login; "" if unknown
	Agent   string    `json:"agent"`          // User-Agent of the client at the login; "" if unknown
}

// Tokens is a page of tokens, oldest first.
type Tokens struct {
	Tokens []Token `json:"tokens"`
	Next   string  `json:"next"` // cursor of the next page, "" on the last
}

// RevokeTokens revokes the given tokens of a user, or all if none is given, and ends the sessions that use them.
type RevokeTokens struct {
	User   string   `json:"user"`
	Tokens []string `json:"tokens,omitempty"` // hashes, or unique prefixes of hashes
}

func (s *Service) tokenEndpoints() []endpoint {
	const tokens = `{"tokens": [{"hash", "session", "issued", "expires", "login", "address", "agent"}], "next": cursor, "" on the last page}`
	return []endpoint{
		{"token", "list", "List a page of a user's tokens, oldest first. Only the hash of a token is stored",
			`{"user", "after": cursor, "limit": 1 to 500}; all except user are optional`, tokens,
			"not_found, invalid, failed", handler(s.listTokens)},
		{"token", "revoke", "Revoke tokens of a user, and end the sessions that use them",
			`{"user", "tokens": hashes, or prefixes of hashes}; without tokens, all are revoked`, tokens,
			"not_found, invalid, failed", handler(s.revokeTokens)},
	}
}

func (s *Service) listTokens(ctx context.Context, r ListTokens) (Tokens, error) {
	after, err := parseCursor(r.After)
	if err != nil {
		return Tokens{}, err
	}
	u, err := s.resolve(ctx, r.User)
	if err != nil {
		return Tokens{}, err
	}
	infos, err := s.o.Store.Tokens.List(ctx, u.ID)
	if err != nil {
		return Tokens{}, err
	}
	return fitPage(s, r.Limit, MaxPage, func(limit int) (Tokens, error) {
		page, next := pageAfter(tokensOf(infos), after, limit, func(t Token) cluster.Cursor { return cluster.Cursor{Since: t.Issued, ID: t.Hash} })
		return Tokens{page, next}, nil
	})
}

func tokensOf(infos []kv.TokenInfo) []Token {
	tokens := make([]Token, len(infos))
	for i, t := range infos {
		tokens[i] = Token{Hash: t.Hash, Session: t.Session, Issued: t.Issued, Expires: t.Expires, Login: t.Login, Address: t.Address, Agent: t.Agent}
	}
	return tokens
}

func (s *Service) revokeTokens(ctx context.Context, r RevokeTokens) (Tokens, error) {
	u, err := s.resolve(ctx, r.User)
	if err != nil {
		return Tokens{}, err
	}
	infos, err := s.o.Store.Tokens.List(ctx, u.ID)
	if err != nil {
		return Tokens{}, err
	}
	if len(r.Tokens) > 0 {
		if infos, err = tokensByPrefix(infos, r.Tokens, u.Account); err != nil {
			return Tokens{}, err
		}
	}
	hashes := make([]string, len(infos))
	for i, t := range infos {
		hashes[i] = t.Hash
	}
	if err := s.o.Accounts.RevokeTokens(ctx, u.ID, hashes...); err != nil {
		return Tokens{}, err
	}
	if len(infos) > MaxPage {
		infos = infos[:MaxPage] // the answer has at most one page; all tokens were revoked
	}
	return Tokens{Tokens: tokensOf(infos)}, nil
}

// tokensByPrefix returns one token for each prefix of a hash. It returns an error if a prefix matches none or several.
func tokensByPrefix(infos []kv.TokenInfo, prefixes []string, account string) (found []kv.TokenInfo, err error) {
	for _, prefix := range prefixes {
		var matches []kv.TokenInfo
		for _, t := range infos {
			if prefix != "" && strings.HasPrefix(t.Hash, prefix) {
				matches = append(matches, t)
			}
		}
		switch len(matches) {
		case 0:
			return nil, failure(NotFound, "%s has no token %q", account, prefix)
		case 1:
			found = append(found, matches[0])
		default:
			return nil, failure(Invalid, "%d tokens match %q: use a longer prefix", len(matches), prefix)
		}
	}
	return found, nil
}
