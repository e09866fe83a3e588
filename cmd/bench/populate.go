package bench

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"imctl/kv"
)

// PopulateOptions are a crowd that stays.
type PopulateOptions struct {
	Accounts       int
	Friends        int // of each, an even number
	Popular        int // how many of the first have more friends
	PopularFriends int // how many more
	Hash           string
}

// PopulateAccount is the account of the i-th.
func PopulateAccount(i int) string { return fmt.Sprintf("%sperson-%d", AccountPrefix, i) }

// Populate fills a server's buckets with accounts that stay, to see how it does when it has very many. Friends are spread
// over all of them, so that who is friends with whom says nothing about where the two are stored.
func Populate(ctx context.Context, bulk *kv.Bulk, progress *Progress, o PopulateOptions) error {
	n := 0
	var s speed
	stop := progress.every(func() string {
		return fmt.Sprintf("populate: %d of %d, %.0f a second", n, o.Accounts, s.of(int64(n)))
	})
	defer stop()
	t := newTown(o)
	return bulk.Create(ctx, func(yield func(kv.Member) bool) {
		for ; n < o.Accounts; n++ {
			if !yield(t.member(n)) {
				return
			}
		}
	})
}

// town knows everybody in it without holding anybody in memory: all about a person comes from its number.
type town struct {
	o       PopulateOptions
	seed    [16]byte
	since   time.Time
	strides []int // each is friends with those so many numbers before and after
	step    int   // between the numbers of those who have a popular friend more
}

func newTown(o PopulateOptions) *town {
	t := &town{o: o, since: time.Now().UTC().Truncate(time.Second)}
	copy(t.seed[:], kv.NewID())
	half := (o.Accounts - 1) / 2
	for k := range min(o.Friends/2, half) {
		t.strides = append(t.strides, 1+k*half/max(o.Friends/2, 1))
	}
	t.strides = slices.Compact(t.strides)
	t.step = (o.Accounts - o.Popular) / max(o.Popular*o.PopularFriends, 1)
	return t
}

func (t *town) id(i int) string {
	b := binary.BigEndian.AppendUint64(t.seed[:], uint64(i))
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

func (t *town) member(i int) kv.Member {
	m := kv.Member{User: kv.User{ID: t.id(i), Account: PopulateAccount(i), PasswordHash: t.o.Hash, Mail: PopulateAccount(i) + "@example.org",
		Profile: kv.Profile{Name: firstNames[i%len(firstNames)] + " " + lastNames[i/len(firstNames)%len(lastNames)]}}}
	for _, f := range t.friends(i) {
		m.Friends = append(m.Friends, kv.Friend{ID: t.id(f), Since: t.since})
	}
	return m
}

// friends are the numbers of somebody's friends. Whom it names has it among its own.
func (t *town) friends(i int) []int {
	var all []int
	n := t.o.Accounts
	for _, s := range t.strides {
		all = append(all, (i+s)%n, (i-s+n)%n)
	}
	for _, other := range t.fans(i) {
		if other != i && !slices.Contains(all, other) {
			all = append(all, other)
		}
	}
	return all
}

// fans are those by whom a popular person has more friends, or the one popular person whom one of these knows.
func (t *town) fans(i int) []int {
	if t.step == 0 {
		return nil
	}
	if i >= t.o.Popular {
		fan := (i - t.o.Popular) / t.step
		if (i-t.o.Popular)%t.step == 0 && fan < t.o.Popular*t.o.PopularFriends {
			return []int{fan / t.o.PopularFriends}
		}
		return nil
	}
	var all []int
	for f := range t.o.PopularFriends {
		all = append(all, t.o.Popular+(i*t.o.PopularFriends+f)*t.step)
	}
	return all
}

// Names that are as like each other as those of a town are: a beginning of one is a beginning of many.
var (
	firstNames = [...]string{"Ada", "Alan", "Anna", "Barbara", "Ben", "Carl", "Clara", "Dennis", "Dorothy", "Edgar", "Elena", "Erik", "Frances",
		"Grace", "Hedy", "Ivan", "Jean", "Karen", "Ken", "Leslie", "Lin", "Margaret", "Mary", "Niklaus", "Olga", "Peter", "Radia", "Rózsa", "Sofia",
		"Tim", "Ursula", "Zoë"}
	lastNames = [...]string{"Allen", "Backus", "Bartik", "Cerf", "Clarke", "Dijkstra", "Engelbart", "Floyd", "Goldberg", "Hamilton", "Hopper",
		"Iverson", "Johnson", "Kay", "Knuth", "Lamport", "Liskov", "Lovelace", "Milner", "Moore", "Naur", "Perlis", "Péter", "Ritchie", "Shannon",
		"Sutherland", "Tarjan", "Thompson", "Turing", "Wilkes", "Wirth", "Yao"}
)
