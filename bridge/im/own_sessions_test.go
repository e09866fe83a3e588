package im

import (
	"slices"
	"testing"
	"time"

	"imctl/bridge/cluster"
	"imctl/kv"
)

// TestOwnSessions lists a user's tokens and the sessions that outlive theirs, and ends one, and then all others.
func TestOwnSessions(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	ann, bob := f.register(t, "ann"), f.register(t, "bob")
	f.issue(t, bob)
	var hashes []string
	for _, agent := range []string{"one", "two", "three"} {
		token, err := f.store.Tokens.Issue(t.Context(), ann.ID, "s", kv.Origin{Address: "192.0.2.1", Agent: agent})
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, kv.TokenHash(token))
	}
	expired := kv.TokenHash(kv.NewID())
	began := time.Now().Add(-time.Hour)
	f.sessions = []cluster.Session{{ID: "a", User: ann.ID, Token: hashes[1]}, {ID: "b", User: ann.ID, Token: hashes[1]},
		{ID: "c", User: ann.ID, Token: expired, Since: began, Address: "192.0.2.7"}, {ID: "d", User: ann.ID}}
	list := func() []OwnSession {
		t.Helper()
		all, err := f.accounts.OwnSessions(t.Context(), ann.ID, hashes[0])
		if err != nil {
			t.Fatal(err)
		}
		for i := range all[1:] {
			if s := &all[i+1]; time.Until(s.Expires) > 0 {
				s.Issued, s.Expires = time.Time{}, time.Time{}
			}
		}
		return all
	}
	one := OwnSession{ID: hashes[0][:16], Address: "192.0.2.1", Agent: "one", Current: true}
	two := OwnSession{ID: hashes[1][:16], Address: "192.0.2.1", Agent: "two", Online: true}
	three := OwnSession{ID: hashes[2][:16], Address: "192.0.2.1", Agent: "three"}
	four := OwnSession{ID: expired[:16], Issued: began, Address: "192.0.2.7", Online: true}
	got := list()
	if len(got) != 4 || got[0] != four {
		t.Fatalf("got %+v, want first %+v", got, four)
	}
	for _, want := range []OwnSession{one, two, three} {
		if !slices.Contains(got, want) {
			t.Errorf("got %+v, want %+v in it", got, want)
		}
	}
	end := func(session string) {
		t.Helper()
		if err := f.accounts.EndOwnSession(t.Context(), ann.ID, session); err != nil {
			t.Errorf("end %q: %v", session, err)
		}
	}
	f.take()
	end(two.ID)
	f.want(t, "one session", "close ann ids=[] token="+hashes[1]+" keep= 1008 session ended")
	end(four.ID)
	f.want(t, "a session without a valid token", "close ann ids=[] token="+expired+" keep= 1008 session ended")
	for _, unknown := range []string{"", hashes[0][:8], hashes[0][:15] + "*", "0123456789abcdef", hashes[0]} {
		end(unknown)
	}
	f.want(t, "unknown")
	if left := f.tokens(t, ann); !slices.Equal(left, []string{hashes[0], hashes[2]}) {
		t.Errorf("%d tokens are left", len(left))
	}
	if err := f.accounts.EndOtherSessions(t.Context(), ann.ID, hashes[0]); err != nil {
		t.Fatal(err)
	}
	f.want(t, "all others", "close ann ids=[] token= keep="+hashes[0]+" 1008 session ended")
	if left := f.tokens(t, ann); !slices.Equal(left, hashes[:1]) {
		t.Errorf("%d tokens are left after all others ended", len(left))
	}
	if left := f.tokens(t, bob); len(left) != 1 {
		t.Errorf("another user has %d tokens left", len(left))
	}
}
