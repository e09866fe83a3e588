package admin

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"imctl/bridge/cluster"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Bounds of an invite.
const (
	MaxInviteUses = 100_000
	MaxInviteLife = 10 * 365 * 24 * time.Hour
	maxInviteNote = 200
)

// CreateInvite creates an invite.
type CreateInvite struct {
	Uses    int    `json:"uses,omitempty"`    // how many accounts may be created with it; 0 is 1
	Expires string `json:"expires,omitempty"` // its life, such as 168h; "" for no end
	Note    string `json:"note,omitempty"`    // for administrators
	URL     string `json:"url,omitempty"`     // of the server, as clients reach it; "": its own
}

// InviteLink is a new invite with its link. The link has the secret, which cannot be read again.
type InviteLink struct {
	kv.Invite
	Link string `json:"link"`
}

// Invites are invites, oldest first.
type Invites struct {
	Invites []kv.Invite `json:"invites"`
	Next    string      `json:"next"` // cursor of the next page, "" on the last
}

// ListInvites requests a page of the invites.
type ListInvites struct {
	After string `json:"after,omitempty"` // the Next of the previous page
	Limit int    `json:"limit,omitempty"` // 1 to MaxPage; 0 is MaxPage
}

// InviteRef names an invite.
type InviteRef struct {
	ID string `json:"id"`
}

func (s *Service) inviteEndpoints() []endpoint {
	const invite = `{"id", "note", "uses", "used", "created", "expires"}`
	return []endpoint{
		{"invite", "create", "Create an invite, which allows registrations while registration is by invite",
			`{"uses": default 1, "expires": duration, default never, "note", "url": of the server}; all are optional`,
			invite + `, and "link", which has the secret`, "invalid, failed", handler(s.createInvite)},
		{"invite", "list", "List a page of the invites, oldest first. Only the hash of an invite's secret is stored",
			`{"after": cursor, "limit": 1 to 500}; all are optional`, `{"invites": [` + invite + `], "next": cursor, "" on the last page}`,
			"invalid, failed", handler(s.listInvites)},
		{"invite", "revoke", "Revoke an invite. Accounts that were created with it stay",
			`{"id"}`, invite, "not_found, failed",
			handler(func(ctx context.Context, r InviteRef) (kv.Invite, error) {
				revoked, err := s.o.Store.Invites.Revoke(ctx, r.ID)
				if errors.Is(err, kv.ErrInvite) {
					return revoked, failure(NotFound, "invite %q does not exist", r.ID)
				}
				return revoked, err
			})},
	}
}

func (s *Service) createInvite(ctx context.Context, r CreateInvite) (InviteLink, error) {
	invite := kv.Invite{Uses: r.Uses, Note: r.Note}
	if r.Uses == 0 {
		invite.Uses = 1
	}
	if invite.Uses < 1 || invite.Uses > MaxInviteUses {
		return InviteLink{}, failure(Invalid, "uses is %d, allowed are 1 to %d", r.Uses, MaxInviteUses)
	}
	if r.Expires != "" {
		life, err := time.ParseDuration(r.Expires)
		if err != nil || life < time.Second || life > MaxInviteLife {
			return InviteLink{}, failure(Invalid, "expires is %q: use a duration from 1s to %s", r.Expires, MaxInviteLife)
		}
		invite.Expires = time.Now().UTC().Add(life).Truncate(time.Second)
	}
	if err := normalize(wire.Field{Name: "note", Max: maxInviteNote}, &invite.Note); err != nil {
		return InviteLink{}, err
	}
	base, err := s.pageURL(r.URL)
	if err != nil {
		return InviteLink{}, err
	}
	invite, secret, err := s.o.Store.Invites.Create(ctx, invite)
	if err != nil {
		return InviteLink{}, err
	}
	return InviteLink{invite, base + "#invite=" + secret}, nil
}

// pageURL returns the URL of the page. given is the URL of the server. If it is "", the service uses its own.
func (s *Service) pageURL(given string) (string, error) {
	base := given
	if base == "" {
		base = s.o.URL
	}
	if base == "" {
		return "", failure(Invalid, "no server is running, so the address of the page is unknown: set url")
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || base != u.Scheme+"://"+u.Host+u.EscapedPath() {
		return "", failure(Invalid, "url must be a URL without a query, such as https://im.example.org: set url, or http.url of the server")
	}
	return strings.TrimSuffix(base, "/") + "/im/www/v1/chat.html", nil
}

func (s *Service) listInvites(ctx context.Context, r ListInvites) (Invites, error) {
	after, err := parseCursor(r.After)
	if err != nil {
		return Invites{}, err
	}
	all, err := s.o.Store.Invites.List(ctx)
	if err != nil {
		return Invites{}, err
	}
	return fitPage(s, r.Limit, MaxPage, func(limit int) (Invites, error) {
		page, next := pageAfter(all, after, limit, func(i kv.Invite) cluster.Cursor { return cluster.Cursor{Since: i.Created, ID: i.ID} })
		return Invites{page, next}, nil
	})
}
