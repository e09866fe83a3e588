package kv

import (
	"errors"
	"testing"
)

// TestDecisionsBetweenNodes: two nodes change the same two rosters at once. A decision that writes nothing, such as a
// refusal, must also follow from rosters that existed together.
func TestDecisionsBetweenNodes(t *testing.T) {
	t.Parallel()
	url := startServer(t, t.TempDir(), false)
	one, two := openStore(t, connect(t, url), Options{}), openStore(t, connect(t, url), Options{})
	ctx := testContext(t)
	for i := range 100 {
		a, b := NewID(), NewID()
		for _, err := range []error{second(one.Rosters.Request(ctx, a, b, "")), second(one.Rosters.Request(ctx, b, a, ""))} {
			if err != nil && !errors.Is(err, ErrAlreadyFriends) {
				t.Fatal(err)
			}
		}
		// Both have asked, and both accept: each is the first, or gives the alias of its end.
		for n, err := range atOnce(2, func(n int) error {
			if n == 0 {
				return second(one.Rosters.Add(ctx, a, b, "B"))
			}
			return second(two.Rosters.Add(ctx, b, a, "A"))
		}) {
			if err != nil {
				t.Fatalf("pair %d: the add of user %d: %v", i, n, err)
			}
		}
		// Both end the friendship: one of them does, and the other finds it ended.
		ended := 0
		for n, err := range atOnce(2, func(n int) error {
			if n == 0 {
				return second(one.Rosters.Remove(ctx, a, b))
			}
			return second(two.Rosters.Remove(ctx, b, a))
		}) {
			switch {
			case err == nil:
				ended++
			case !errors.Is(err, ErrNotFriends):
				t.Fatalf("pair %d: the removal of user %d: %v", i, n, err)
			}
		}
		if ended != 1 {
			t.Fatalf("pair %d: %d removals ended the friendship, want 1", i, ended)
		}
	}
}
