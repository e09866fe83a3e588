package im

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"imctl/bridge/wire"
	"imctl/kv"
)

// TestUpdateProfile: friends are shown a new profile. A new password revokes the other tokens and ends their sessions. It
// drops a code for a forgotten password, and so does a new mail address.
func TestUpdateProfile(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	none := func(*wire.ProfileFields) {}
	text := func(s string) *string { return &s }
	closed := func(keep string) string { return "close ann ids=[] token= keep=" + keep + " 1008 password changed" }
	notice := func(fields wire.ProfileFields) string {
		return "notice friend " + string(wire.AppendRefresh(nil, wire.Profile{ID: "ann", ProfileFields: fields}))
	}
	for _, row := range []struct {
		what     string
		update   ProfileUpdate
		noToken  bool // the caller is not authorized by a token
		err      error
		want     []string
		revoked  bool // the other token
		codeGone bool
	}{
		{what: "nothing", update: ProfileUpdate{SetProfile: none}},
		{what: "sign", update: ProfileUpdate{SetProfile: func(p *wire.ProfileFields) { p.Sign = "new" }},
			want: []string{"event ann updated", "profile ann", notice(wire.ProfileFields{Name: "ann", Sign: "new"})}},
		{what: "empty name", update: ProfileUpdate{SetProfile: func(p *wire.ProfileFields) { p.Name, p.Sex = "", "x" }},
			want: []string{"event ann updated", "profile ann", notice(wire.ProfileFields{Name: "ann", Sex: "x"})}},
		{what: "mail", update: ProfileUpdate{Mail: text("new@example.org"), SetProfile: none}, want: []string{"event ann updated"}, codeGone: true},
		{what: "password", update: ProfileUpdate{Password: text("new"), SetProfile: none},
			want: []string{"event ann password", closed("TOKEN")}, revoked: true, codeGone: true},
		{what: "password without a token", update: ProfileUpdate{Password: text("new"), SetProfile: none}, noToken: true,
			want: []string{"event ann password", closed("")}, revoked: true, codeGone: true},
		{what: "all", update: ProfileUpdate{Password: text("new"), Mail: text("x@y"), SetProfile: func(p *wire.ProfileFields) { p.Name = "N" }},
			want:    []string{"event ann password", "event ann updated", closed("TOKEN"), "profile ann", notice(wire.ProfileFields{Name: "N"})},
			revoked: true, codeGone: true},
		{what: "password too long", update: ProfileUpdate{Password: text(strings.Repeat("x", 257)), SetProfile: none}, err: kv.ErrPasswordTooLong},
	} {
		ann, friend := f.register(t, "ann"), f.register(t, "friend")
		f.befriend(t, ann, friend)
		kept, other := f.issue(t, ann), f.issue(t, ann)
		code := f.code(t, ann)
		token, left := kept, []string{kv.TokenHash(kept), kv.TokenHash(other)}
		if row.noToken {
			token = ""
		}
		if row.revoked {
			left = left[:1]
		}
		if row.revoked && row.noToken {
			left = nil
		}
		for i := range row.want {
			row.want[i] = strings.ReplaceAll(row.want[i], "TOKEN", kv.TokenHash(kept))
		}
		right := password
		row.update.Proof = Proof{Password: &right}
		if token != "" {
			info, err := f.store.Tokens.Get(t.Context(), ann.ID, token)
			if err != nil {
				t.Fatal(err)
			}
			row.update.Proof = Proof{Token: info}
		}
		if err := f.accounts.UpdateProfile(t.Context(), f.current(t, ann.ID), row.update); !errors.Is(err, row.err) {
			t.Errorf("%s: got error %v, want %v", row.what, err, row.err)
		}
		f.want(t, row.what, row.want...)
		if got := f.tokens(t, ann); !slices.Equal(got, left) {
			t.Errorf("%s: %d tokens are left, want %d", row.what, len(got), len(left))
		}
		wantCode := error(nil)
		if row.codeGone {
			wantCode = wire.WrongCredentials
		}
		if err := f.resets.ResetPassword(t.Context(), "ann", code, "by code"); !errors.Is(err, wantCode) {
			t.Errorf("%s: the code from before: got %v, want %v", row.what, err, wantCode)
		}
		for _, u := range []kv.User{ann, friend} {
			if err := f.accounts.Delete(t.Context(), u.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := func(ctx context.Context) error {
		return f.accounts.UpdateProfile(ctx, kv.User{ID: kv.NewID()}, ProfileUpdate{SetProfile: none})
	}
	f.run(t, []step{{what: "unknown user", call: gone, err: kv.ErrUserNotFound}})
}
