package push

import (
	"testing"
	"time"

	"imctl/kv"
)

// TestSignInOver checks after which time the subscriptions of a user end.
func TestSignInOver(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.opts.SignInAge = time.Minute
	if _, err := f.store.Users.Update(t.Context(), f.ann.ID, func(u *kv.User) error { u.External.Source = "jwt"; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user string
		age  time.Duration
		over bool
	}{
		{f.ann.ID, 59 * time.Second, false}, {f.ann.ID, 2 * time.Minute, true}, {f.ann.ID, 2 * time.Hour, true},
		{f.bob.ID, 2 * time.Minute, false}, {f.bob.ID, 2 * time.Hour, true},
	} {
		if over, err := f.signInOver(t.Context(), c.user, c.age); over != c.over || err != nil {
			t.Errorf("%s after %s: %t, %v", c.user, c.age, over, err)
		}
	}
}
