package kv

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	var me User
	for i, name := range []string{"Jo", "Johanna", "JOHN", "Joanna", "Jürgen", "john smith", "John", "Ann", "", "Jo.*>", "李明", "李"} {
		u := User{ID: NewID(), Account: fmt.Sprint(i), Profile: Profile{Name: name}}
		seedUser(t, s, u)
		if name == "Joanna" {
			me = u
		}
	}
	hidden := User{ID: NewID(), Account: "x", Disabled: true, Profile: Profile{Name: "Johnny"}}
	seedUser(t, s, hidden)
	for _, tc := range []struct {
		name, except string
		limit        int
		want         string
	}{
		{"john", "", 50, "JOHN,John,john smith"},
		{" JOHN ", "", 50, "JOHN,John,john smith"},
		{"joh", "", 50, "Johanna,JOHN,john smith,John"},
		{"jo", me.ID, 50, "Jo,Johanna,JOHN,john smith,John,Jo.*>"},
		{"jo", "", 3, "Jo,Johanna,JOHN"},
		{"jo.*", "", 50, "Jo.*>"},
		{"jü", "", 50, "Jürgen"},
		{"JU\u0308", "", 50, "Jürgen"}, // the same letter in two code points
		{"李", "", 50, "李,李明"},
		{"*", "", 50, ""},
		{">", "", 50, ""},
		{"", "", 50, ""},
		{"jo", "", 0, ""},
		{"nobody", "", 50, ""},
		{strings.Repeat("a", 5000), "", 50, ""},
	} {
		found, err := s.Users.Find(ctx, tc.name, tc.limit, tc.except)
		if err != nil || names(found) != tc.want {
			t.Errorf("Find(%.20q, %d) = %q, %v; want %q", tc.name, tc.limit, names(found), err, tc.want)
		}
	}
}

func TestFindFollowsTheName(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	u := mustCreate(t, s, "a", "Old")
	rename := func(name string) {
		t.Helper()
		if _, err := s.Users.Update(ctx, u.ID, func(u *User) error { u.Name = name; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	finds := func(name string, want int) {
		t.Helper()
		if found, err := s.Users.Find(ctx, name, 50, ""); err != nil || len(found) != want {
			t.Errorf("Find(%q) finds %d, %v; want %d", name, len(found), err, want)
		}
	}
	rename("New")
	finds("old", 0)
	finds("new", 1)
	rename("Old") // takes an earlier name again
	finds("old", 1)
	finds("new", 0)
	rename("OLD")
	finds("old", 1)
	rename("")
	finds("old", 0)
	rename("Old")
	if err := s.Users.Delete(ctx, u.ID); err != nil {
		t.Fatal(err)
	}
	finds("old", 0)
}

// Names that are longer than the indexed part are distinguished by their records.
func TestFindLongNames(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	long := strings.Repeat("a", maxIndexed)
	for i, name := range []string{long, long + "b", long + "c"} {
		seedUser(t, s, User{ID: NewID(), Account: fmt.Sprint(i), Profile: Profile{Name: name}})
	}
	for name, want := range map[string]int{long: 3, long + "b": 1, long + "bb": 0} {
		if found, err := s.Users.Find(testContext(t), name, 50, ""); err != nil || len(found) != want {
			t.Errorf("%d characters find %d, %v; want %d", len(name), len(found), err, want)
		}
	}
}

// If there are more than 1,024 matches, the server refuses to look them up in the index, and Find reads them one by
// one. The result must be the same.
func TestFindAmongManyMatches(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	ctx := testContext(t)
	const many = 1100
	var equal User
	for i := range many {
		u := User{ID: NewID(), Account: fmt.Sprint(i), Profile: Profile{Name: fmt.Sprintf("ab%d", i)}}
		// The users of the first two pages are disabled, so Find must read further pages.
		u.Disabled = i < 2*findPageKeys
		if i == many-1 {
			u.Name = "ab"
			equal = u
		}
		seedUser(t, s, u)
	}
	if _, err := s.Users.b.firstPage(ctx, "name."+nameTokens("ab")+".>", 10); err != errTooMany {
		t.Fatalf("firstPage of too many matches: %v, want %v", err, errTooMany)
	}
	found, err := s.Users.Find(ctx, "AB", 50, "")
	if err != nil || len(found) != 50 {
		t.Fatalf("Find returned %d users, %v; want 50", len(found), err)
	}
	if found[0] != equal {
		t.Errorf("the first match is %q, want the equal name first", found[0].Name)
	}
	for i, u := range found[1:] {
		if want := fmt.Sprintf("ab%d", 2*findPageKeys+i); u.Name != want {
			t.Errorf("match %d is %q, want %q", i+1, u.Name, want)
		}
	}
}

func TestReadsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	s := newStore(t, Options{})
	mustCreate(t, s, "a", "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Users.Find(ctx, "a", 50, ""); err == nil {
		t.Error("Find returned no error")
	}
	if _, _, err := s.Users.List(ctx, ListOptions{}); err == nil {
		t.Error("List returned no error")
	}
	if _, err := s.Users.GetMany(ctx, []string{NewID()}); err == nil {
		t.Error("GetMany returned no error")
	}
}

func BenchmarkFind(b *testing.B) {
	s := newBenchStore(b)
	for i := range 20000 {
		seedUser(b, s, User{ID: NewID(), Account: fmt.Sprint(i), Profile: Profile{Name: fmt.Sprintf("name%d", i)}})
	}
	for _, name := range []string{"n", "name199", "name19999"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Users.Find(b.Context(), name, 50, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
