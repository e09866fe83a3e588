package kv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// twoStores opens two stores on one server, for two nodes. They share nothing but the streams.
func twoStores(t *testing.T, s *server.Server, o Options) [2]*Store {
	t.Helper()
	return [2]*Store{openStore(t, connect(t, s), o), openStore(t, connect(t, s), o)}
}

// mustGet returns a roster.
func mustGet(t *testing.T, s *Store, id string) Roster {
	t.Helper()
	r, _, err := s.Rosters.Get(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// relation returns the state between two users.
func relation(t *testing.T, s *Store, a, b string) between {
	t.Helper()
	read := func(own, other string) end {
		return readEnd(&party{id: own, Roster: mustGet(t, s, own)}, other)
	}
	return between{read(a, b), read(b, a)}
}

func TestFriendship(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	a, b := NewID(), NewID()
	step := func(want Kind, state between) func(Change, error) {
		return func(c Change, err error) {
			t.Helper()
			if err != nil || c.Kind != want {
				t.Fatalf("the change is %v, %v; want %v", c.Kind, err, want)
			}
			if got := relation(t, s, a, b); got != state {
				t.Fatalf("the state is %+v, want %+v", got, state)
			}
			for id, revision := range map[string]uint64{a: c.RevisionA, b: c.RevisionB} {
				if c.A == b {
					revision = c.RevisionA + c.RevisionB - revision
				}
				if _, now, err := s.Rosters.Get(ctx, id); err != nil || revision != 0 && revision != now {
					t.Errorf("the change has revision %d, the roster %d (%v)", revision, now, err)
				}
			}
		}
	}
	asked := between{a: end{asked: true}, b: end{request: "hello"}}
	step(Requested, asked)(s.Rosters.Request(ctx, a, b, "hello"))
	c, err := s.Rosters.Request(ctx, a, b, "hello")
	if c.RevisionA != 0 || c.RevisionB != 0 {
		t.Errorf("the same request again wrote revisions %d and %d", c.RevisionA, c.RevisionB)
	}
	step(Unchanged, asked)(c, err)

	c, err = s.Rosters.Add(ctx, b, a, "Al")
	step(Befriended, between{a: end{friend: unnamed}, b: end{friend: "Al"}})(c, err)
	if c.A != b || c.B != a || c.FriendOfA.ID != a || c.FriendOfA.Alias != "Al" || c.FriendOfB.ID != b || c.FriendOfB.Alias != "" {
		t.Errorf("the change is %+v", c)
	}
	if c.RevisionA == 0 || c.RevisionB != c.RevisionA+1 {
		t.Errorf("the change has revisions %d and %d, want consecutive ones", c.RevisionA, c.RevisionB)
	}
	if _, err := s.Rosters.Add(ctx, b, a, "Bert"); !errors.Is(err, ErrAlreadyFriends) {
		t.Errorf("a second alias: %v, want %v", err, ErrAlreadyFriends)
	}
	c, err = s.Rosters.Add(ctx, a, b, "Bo")
	step(Named, between{a: end{friend: "Bo"}, b: end{friend: "Al"}})(c, err)
	if c.RevisionA == 0 || c.RevisionB != 0 {
		t.Errorf("an alias wrote revisions %d and %d, want only the caller's", c.RevisionA, c.RevisionB)
	}
	step(Removed, between{})(s.Rosters.Remove(ctx, a, b))
	if _, err := s.Rosters.Remove(ctx, a, b); !errors.Is(err, ErrNotFriends) {
		t.Errorf("a second Remove: %v, want %v", err, ErrNotFriends)
	}

	step(Requested, asked)(s.Rosters.Request(ctx, a, b, "hello"))
	c, err = s.Rosters.Remove(ctx, b, a)
	if !errors.Is(err, ErrNotFriends) || c.Kind != Withdrawn || c.RevisionA == 0 || c.RevisionB == 0 {
		t.Errorf("Remove of a request = %+v, %v; want %v", c, err, Withdrawn)
	}
	if got := relation(t, s, a, b); got != (between{}) {
		t.Errorf("the state after Remove of a request is %+v", got)
	}
	step(Befriended, between{a: end{friend: unnamed}, b: end{friend: unnamed}})(s.Rosters.Befriend(ctx, a, b))
	step(Unchanged, between{a: end{friend: unnamed}, b: end{friend: unnamed}})(s.Rosters.Befriend(ctx, b, a))
}

func TestRostersRefuse(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{MaxFriends: 1, MaxRequests: 1})
	ctx := testContext(t)
	a, b, c, d := NewID(), NewID(), NewID(), NewID()
	must := func(_ Change, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Rosters.Befriend(ctx, a, b))
	must(s.Rosters.Request(ctx, c, a, ""))
	for what, tc := range map[string]struct {
		err, want error
	}{
		"request to oneself":          {second(s.Rosters.Request(ctx, a, a, "")), ErrSelf},
		"request to an invalid id":    {second(s.Rosters.Request(ctx, a, "*", "")), ErrUserNotFound},
		"request to a friend":         {second(s.Rosters.Request(ctx, a, b, "")), ErrAlreadyFriends},
		"too many own requests":       {second(s.Rosters.Request(ctx, c, d, "")), ErrTooManyRequests},
		"add oneself":                 {second(s.Rosters.Add(ctx, a, a, "x")), ErrNoRequest},
		"add without a request":       {second(s.Rosters.Add(ctx, a, d, "x")), ErrNoRequest},
		"add to a full roster":        {second(s.Rosters.Add(ctx, a, c, "x")), ErrTooManyFriends},
		"befriend with a full roster": {second(s.Rosters.Befriend(ctx, c, b)), ErrTooManyFriends},
		"remove a stranger":           {second(s.Rosters.Remove(ctx, a, d)), ErrNotFriends},
		"remove an invalid id":        {second(s.Rosters.Remove(ctx, a, "x")), ErrNotFriends},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v, want %v", what, tc.err, tc.want)
		}
	}
}

func TestCrossingRequestsAndAddsAtOnce(t *testing.T) {
	t.Parallel()
	stores := twoStores(t, startServer(t, t.TempDir(), false), Options{})
	ctx := testContext(t)
	for range 8 {
		ids := [2]string{NewID(), NewID()}
		for i, err := range atOnce(2, func(i int) error {
			_, err := stores[i].Rosters.Request(ctx, ids[i], ids[1-i], "old")
			return err
		}) {
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if got := relation(t, stores[0], ids[0], ids[1]); got != states["both asked"] {
			t.Fatalf("the state after crossing requests is %+v", got)
		}
		kinds := make([]Kind, 2)
		for i, err := range atOnce(2, func(i int) error {
			c, err := stores[i].Rosters.Add(ctx, ids[i], ids[1-i], "X")
			kinds[i] = c.Kind
			return err
		}) {
			if err != nil {
				t.Errorf("add %d: %v", i, err)
			}
		}
		if kinds[0]+kinds[1] != Befriended+Named {
			t.Errorf("the changes are %v, want one %v and one %v", kinds, Befriended, Named)
		}
		if got := relation(t, stores[0], ids[0], ids[1]); got != named("X", "X") {
			t.Errorf("the state after two concurrent adds is %+v", got)
		}
	}
}

func TestOneAddManyTimesAtOnce(t *testing.T) {
	t.Parallel()
	stores := twoStores(t, startServer(t, t.TempDir(), false), Options{})
	ctx := testContext(t)
	a, b := NewID(), NewID()
	if _, err := stores[0].Rosters.Request(ctx, b, a, ""); err != nil {
		t.Fatal(err)
	}
	succeeded := 0
	for i, err := range atOnce(12, func(i int) error {
		_, err := stores[i%2].Rosters.Add(ctx, a, b, "Bo")
		return err
	}) {
		if err == nil {
			succeeded++
		} else if !errors.Is(err, ErrAlreadyFriends) {
			t.Errorf("add %d: %v", i, err)
		}
	}
	if succeeded != 1 {
		t.Errorf("%d adds succeeded, want 1", succeeded)
	}
	if got := relation(t, stores[0], a, b); got != named("Bo", unnamed) {
		t.Errorf("the state is %+v", got)
	}
}

// In any order nothing remains: a Remove before the Add withdraws the request.
func TestAddAgainstRemoveAtOnce(t *testing.T) {
	t.Parallel()
	stores := twoStores(t, startServer(t, t.TempDir(), false), Options{})
	ctx := testContext(t)
	for range 8 {
		a, b := NewID(), NewID()
		if _, err := stores[0].Rosters.Request(ctx, b, a, ""); err != nil {
			t.Fatal(err)
		}
		errs := atOnce(2, func(i int) error {
			if i == 0 {
				_, err := stores[0].Rosters.Add(ctx, a, b, "Bo")
				return err
			}
			_, err := stores[1].Rosters.Remove(ctx, b, a)
			return err
		})
		addFirst := errs[0] == nil && errs[1] == nil
		removeFirst := errors.Is(errs[0], ErrNoRequest) && errors.Is(errs[1], ErrNotFriends)
		if !addFirst && !removeFirst {
			t.Errorf("add: %v, remove: %v", errs[0], errs[1])
		}
		if got := relation(t, stores[0], a, b); got != (between{}) {
			t.Errorf("the state is %+v", got)
		}
	}
}

func TestManyRequestsToOneAtOnce(t *testing.T) {
	t.Parallel()
	stores := twoStores(t, startServer(t, t.TempDir(), false), Options{})
	ctx := testContext(t)
	const n = 30
	popular := NewID()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = NewID()
	}
	for i, err := range atOnce(n, func(i int) error {
		_, err := stores[i%2].Rosters.Request(ctx, ids[i], popular, fmt.Sprint(i))
		return err
	}) {
		if err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	r := mustGet(t, stores[0], popular)
	for i, id := range ids {
		if q, ok := r.Request(id); !ok || q.Note != fmt.Sprint(i) {
			t.Errorf("request %d is %+v", i, q)
		}
	}
}

// Four users make random calls on two nodes concurrently. At the end every two of them are in a consistent state.
func TestRandomCallsAtOnce(t *testing.T) {
	t.Parallel()
	stores := twoStores(t, startServer(t, t.TempDir(), false), Options{})
	ctx := testContext(t)
	ids := []string{NewID(), NewID(), NewID(), NewID()}
	for i, err := range atOnce(8, func(i int) error {
		r := stores[i%2].Rosters
		for range 10 {
			pair := rand.Perm(len(ids))
			a, b := ids[pair[0]], ids[pair[1]]
			var err error
			switch rand.IntN(4) {
			case 0, 1:
				_, err = r.Request(ctx, a, b, "old")
			case 2:
				_, err = r.Add(ctx, a, b, "X")
			case 3:
				_, err = r.Remove(ctx, a, b)
			}
			for _, allowed := range []error{ErrAlreadyFriends, ErrNoRequest, ErrNotFriends} {
				if errors.Is(err, allowed) {
					err = nil
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	for i, a := range ids {
		for _, b := range ids[:i] {
			if got := relation(t, stores[0], a, b); !consistent(got) {
				t.Errorf("two users are in the inconsistent state %+v", got)
			}
		}
	}
}
