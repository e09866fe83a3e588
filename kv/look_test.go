package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// lookAlikes maps an account to accounts that look the same, as they are shown or folded.
var lookAlikes = map[string][]string{
	"ada":           {"аda", "ad\u0430", "ａｄａ", "𝐚𝐝𝐚", "a\u200dda", "a\u00adda", "a\u3164da", "\u115fada", "ada\uffa0", "\u202eada"},
	"Bill":          {"BiIl", "Bi11", "biIl"},
	"bob0":          {"bobO"},
	"BOB":           {"ВОВ"},
	"a b":           {"a  b", "a\u00a0b", "a\u2003b", "a\u3000 b"},
	"modern":        {"rnodern"},
	"\u13a0\u13a1":  {"\uab70\uab71", "\u13a0\uab71"},
	"می\u200cخواهم": {"میخواهم"},
}

// An account cannot be created if it looks like an existing account, in whatever order the two are created. A deleted
// account is free again, with all accounts that look like it.
func TestLookAlikes(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	for account, others := range lookAlikes {
		for _, other := range others {
			for _, pair := range [][2]string{{account, other}, {other, account}} {
				u := mustCreate(t, s, pair[0], "")
				if _, err := s.Users.Create(testContext(t), User{Account: pair[1]}); !errors.Is(err, ErrAccountExists) {
					t.Errorf("Create of %+q beside %+q: %v, want %v", pair[1], pair[0], err, ErrAccountExists)
				}
				if err := s.Users.Available(testContext(t), pair[1]); !errors.Is(err, ErrAccountExists) {
					t.Errorf("Available of %+q beside %+q: %v, want %v", pair[1], pair[0], err, ErrAccountExists)
				}
				if err := s.Users.Delete(testContext(t), u.ID); err != nil {
					t.Fatal(err)
				}
				all := readBucket(t, s.Users.b)
				maps.DeleteFunc(all, func(key, _ string) bool { return strings.HasPrefix(key, userKey("")) }) // delete markers
				if len(all) != 0 {
					t.Fatalf("the deletion of %+q leaves %q", pair[0], all)
				}
			}
		}
	}
}

// Accounts that differ to the eye are independent of each other.
func TestNotLookAlikes(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	for _, account := range []string{"bob", "bobo", "bob0", "user1", "user2", "user10", "useri", "ab", "a b", "李明", "李月", "мир", "mup", "\u13a0", "x\u0301", "x", "😀", "😃"} {
		if _, err := s.Users.Create(testContext(t), User{Account: account}); err != nil {
			t.Errorf("Create of %+q: %v", account, err)
		}
	}
}

// Of many concurrent registrations of accounts that look the same, one succeeds.
func TestLookAlikesAtOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	all := slices.Concat([]string{"ada"}, lookAlikes["ada"])
	errs := atOnce(len(all), func(i int) error { return second(s.Users.Create(testContext(t), User{Account: all[i]})) })
	created := 0
	for i, err := range errs {
		if err == nil {
			created++
		} else if !errors.Is(err, ErrAccountExists) {
			t.Errorf("Create of %+q: %v, want %v", all[i], err, ErrAccountExists)
		}
	}
	if created != 1 {
		t.Errorf("%d registrations succeeded, want 1", created)
	}
}

// Restore refuses an account that looks like an existing one, or like one of the same batch.
func TestRestoreLookAlikes(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	mustCreate(t, s, "ada", "")
	got := s.Users.Restore(testContext(t), []User{{Account: "аda"}, {Account: "Bill"}, {Account: "BiIl"}, {Account: "carol"}})
	for i, exists := range []bool{true, false, true, false} {
		if r := got[i]; errors.Is(r.Err, ErrAccountExists) != exists || r.Created == exists {
			t.Errorf("result %d is %+v, %v", i, r, r.Err)
		}
	}
	if f, err := s.Sweep(testContext(t), true); err != nil || f != (Findings{}) {
		t.Errorf("Sweep = %+v, %v; want no findings", f, err)
	}
}

// A claim of a look without its user is an orphan, and an account that it belongs to is free again.
func TestOrphanedLook(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	u := mustCreate(t, s, "Ada", "")
	for look, id := range map[string]string{"lost": NewID(), "other": u.ID} {
		if _, err := s.Users.b.write(testContext(t), putAt(lookKeys(look)[0], []byte(id), 0)); err != nil {
			t.Fatal(err)
		}
	}
	want := Findings{Looks: 2}
	if f, err := s.Sweep(testContext(t), false); err != nil || f != want {
		t.Errorf("Sweep = %+v, %v; want %+v", f, err, want)
	}
	if f, err := s.Sweep(testContext(t), true); err != nil || f != (Findings{}) {
		t.Errorf("second Sweep = %+v, %v; want no findings", f, err)
	}
	if _, err := s.Users.Create(testContext(t), User{Account: "аda"}); !errors.Is(err, ErrAccountExists) {
		t.Errorf("Create of a look-alike of %s after the sweep: %v", u, err)
	}
	mustCreate(t, s, "lost", "")
}

// The first start on buckets without claims of looks writes them, first come, first served. All existing accounts can
// log in, and deleting the second of two that look the same does not free the look of the first.
func TestUpgradeClaimsLooks(t *testing.T) {
	t.Parallel()
	for format := range currentFormat {
		t.Run(fmt.Sprint("format ", format), func(t *testing.T) {
			t.Parallel()
			s := newStore(t, Options{})
			ctx := testContext(t)
			users := make(map[string]User)
			for _, account := range []string{"ada", "аda", "Bill", "BiIl", "\u3164", "x\u2028y"} {
				u := User{ID: NewID(), Account: account, Created: now(), Profile: Profile{Name: account}}
				users[account] = u
				seedUser(t, s, u)
			}
			for range 2 { // as if the first upgrade was interrupted before its last step
				if _, err := s.States.Update(ctx, func(state *State) error { state.Format = format; return nil }); err != nil {
					t.Fatal(err)
				}
				s = openStore(t, s.Users.b.nc, Options{})
			}
			for account, u := range users {
				if got, err := s.Users.ByAccount(ctx, account); err != nil || got != u {
					t.Errorf("ByAccount of %+q = %+v, %v", account, got, err)
				}
			}
			if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
				t.Errorf("Sweep = %+v, %v; want no findings", f, err)
			}
			if state, err := s.States.Get(ctx); err != nil || state.Format != currentFormat {
				t.Errorf("the state is %+v, %v; want format %d", state, err, currentFormat)
			}
			if err := s.Users.Delete(ctx, users["аda"].ID); err != nil {
				t.Fatal(err)
			}
			for _, account := range []string{"аda", "ａda", "bi11"} {
				if _, err := s.Users.Create(ctx, User{Account: account}); !errors.Is(err, ErrAccountExists) {
					t.Errorf("Create of %+q: %v, want %v", account, err, ErrAccountExists)
				}
			}
			if err := s.Users.Delete(ctx, users["ada"].ID); err != nil {
				t.Fatal(err)
			}
			mustCreate(t, s, "аda", "")
		})
	}
}

// Accounts and names with lowercase letters of Cherokee have keys of another fold in older buckets.
func TestUpgradeCherokee(t *testing.T) {
	t.Parallel()
	for format := range currentFormat {
		t.Run(fmt.Sprint("format ", format), func(t *testing.T) {
			t.Parallel()
			s := newStore(t, Options{})
			ctx := testContext(t)
			old := User{ID: NewID(), Account: "\uab70\uab71", Profile: Profile{Name: "\uab72"}, Created: now()}
			upper := User{ID: NewID(), Account: "\u13a3", Profile: Profile{Name: "\u13a3"}, Created: now()}
			seedUser(t, s, upper)
			for _, w := range []write{putAt("account."+encode(old.Account), []byte(old.ID), 0), putAt(nameKey(old.Name, old.ID, 0), nil, 0)} {
				if _, err := s.Users.b.write(ctx, w); err != nil {
					t.Fatal(err)
				}
			}
			oldStore{t, s.Users.b.js}.put("users."+userKey(old.ID), old)
			if _, err := s.States.Update(ctx, func(state *State) error { state.Format = format; return nil }); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, s.Users.b.nc, Options{})
			for _, account := range []string{"\uab70\uab71", "\u13a0\u13a1"} {
				if got, err := s.Users.ByAccount(ctx, account); err != nil || got != old {
					t.Errorf("ByAccount of %+q = %+v, %v; want %+v", account, got, err, old)
				}
			}
			if found, err := s.Users.Find(ctx, "\u13a2", 9, ""); err != nil || len(found) != 1 || found[0] != old {
				t.Errorf("Find = %+v, %v; want %+v", found, err, old)
			}
			if n, err := s.Users.Count(ctx); err != nil || n != 2 {
				t.Errorf("Count = %d, %v; want 2", n, err)
			}
			if f, err := s.Sweep(ctx, true); err != nil || f != (Findings{}) {
				t.Errorf("Sweep = %+v, %v; want no findings", f, err)
			}
		})
	}
}

// A user whose account has many characters that stand for several others has keys that NATS accepts.
func TestLookOfLongAccount(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	u := mustCreate(t, s, strings.Repeat("\ufdfa", 64), "")
	if got, err := s.Users.ByAccount(testContext(t), u.Account); err != nil || got != u {
		t.Errorf("ByAccount = %+v, %v", got, err)
	}
}

// BenchmarkUpgradeLooks measures the upgrade of 100,000 accounts without claims of looks.
func BenchmarkUpgradeLooks(b *testing.B) {
	const accounts = 100_000
	s := newBenchStore(b)
	err := writeBulk(b.Context(), []*bucket{s.Users.b}, func(_ context.Context, writers []*bulkWriter) error {
		for i := range accounts {
			u := User{ID: NewID(), Account: fmt.Sprint("User ", i), Created: now()}
			record, err := json.Marshal(u)
			if err != nil {
				return err
			}
			if err := writers[0].add(putAt(accountKey(FoldAccount(u.Account)), []byte(u.ID), 0), putAt(userKey(u.ID), record, 0)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.Users.b.purge(b.Context(), lookPrefix+"*", 0); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := s.claimLooks(b.Context(), newProgress(s.opts.Log)); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s/upgrade")
	}
}
