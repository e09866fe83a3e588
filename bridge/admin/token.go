package admin

import (
	"context"
	"strings"
	"time"

	"imctl/kv"
)

// ListTokens asks for a page of a user's tokens.
type ListTokens struct {
	User  string `json:"user"`
	After string `json:"after,omitempty"` // the cursor that the page before had as its next
	Limit int    `json:"limit,omitempty"` // 1 to MaxPage; 0 is MaxPage
}

// Token is what is known of a token. The token itself nobody can find out.
type Token struct {
	Hash    string    `json:"hash"`    // SHA-256, in hex
	Session string    `json:"session"` // for which it was issued
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

// Tokens is a page, the oldest first.
type Tokens struct {
	Tokens []Token `json:"tokens"`
	Next   string  `json:"next"` // cursor of the next page, "" on the last
}

// RevokeTokens asks for an end of these tokens of a user, or of all, and of the sessions that live by them.
type RevokeTokens struct {
	User   string   `json:"user"`
	Tokens []string `json:"tokens,omitempty"` // hashes, or as much of each as tells it from the others
}

func (s *Service) tokenEndpoints() []endpoint {
	const tokens = `{"tokens": [{"hash", "session", "issued", "expires"}], "next": cursor, "" on the last page}`
	return []endpoint{
		{"token", "list", "A page of a user's tokens, the oldest first; of a token only its hash is known",
			`{"user", "after": cursor, "limit": 1 to 500}; all but user may be left out`, tokens,
			"not_found, invalid, failed", handler(s.listTokens)},
		{"token", "revoke", "End tokens of a user, and the sessions that live by them",
			`{"user", "tokens": hashes, or how they begin}; without tokens all end`, tokens,
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
	return fitting(s, r.Limit, MaxPage, func(limit int) (Tokens, error) {
		page, next := behind(tokensOf(infos), after, limit, func(t Token) place { return place{t.Issued, t.Hash} })
		return Tokens{page, next}, nil
	})
}

func tokensOf(infos []kv.TokenInfo) []Token {
	tokens := make([]Token, len(infos))
	for i, t := range infos {
		tokens[i] = Token(t)
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
		if infos, err = meant(infos, r.Tokens, u.Account); err != nil {
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
		infos = infos[:MaxPage] // the answer has to fit; what was asked for is done
	}
	return Tokens{Tokens: tokensOf(infos)}, nil
}

// meant finds the tokens whose hashes begin so, each exactly one.
func meant(infos []kv.TokenInfo, begins []string, account string) (found []kv.TokenInfo, err error) {
	for _, begin := range begins {
		var which []kv.TokenInfo
		for _, t := range infos {
			if begin != "" && strings.HasPrefix(t.Hash, begin) {
				which = append(which, t)
			}
		}
		switch len(which) {
		case 0:
			return nil, failure(NotFound, "%s has no token %q", account, begin)
		case 1:
			found = append(found, which[0])
		default:
			return nil, failure(Invalid, "%d tokens begin with %q", len(which), begin)
		}
	}
	return found, nil
}
