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

// PopulateOptions are the options of Populate.
type PopulateOptions struct {
	Accounts       int
	Friends        int // friends of each account, an even number
	Popular        int // the first accounts, up to this number, have additional friends
	PopularFriends int // additional friends of each of them
	Hash           string
}

// PopulateAccount returns the name of the i-th account.
func PopulateAccount(i int) string { return fmt.Sprintf("%sperson-%d", AccountPrefix, i) }

// Populate creates permanent accounts in the buckets of a server, to measure a server with many accounts. The friends
// of an account are spread over all accounts, so that the records of friends are not stored next to each other.
func Populate(ctx context.Context, bulk *kv.Bulk, progress *Progress, o PopulateOptions) error {
	n := 0
	var r rateCounter
	stop := progress.every(func() string {
		return fmt.Sprintf("populate: %d of %d, %.0f/s", n, o.Accounts, r.rate(int64(n)))
	})
	defer stop()
	p := newPopulation(o)
	return bulk.Create(ctx, func(yield func(kv.Member) bool) {
		for ; n < o.Accounts; n++ {
			if !yield(p.member(n)) {
				return
			}
		}
	})
}

// population computes accounts and friendships from the number of an account, so that they need no memory.
type population struct {
	o       PopulateOptions
	seed    [16]byte
	since   time.Time
	strides []int // account i is a friend of i±s for each stride s
	step    int   // distance between the accounts with an additional popular friend; 0 if there are none
}

func newPopulation(o PopulateOptions) *population {
	p := &population{o: o, since: time.Now().UTC().Truncate(time.Second)}
	copy(p.seed[:], kv.NewID())
	half := (o.Accounts - 1) / 2
	for k := range min(o.Friends/2, half) {
		p.strides = append(p.strides, 1+k*half/max(o.Friends/2, 1))
	}
	p.strides = slices.Compact(p.strides)
	p.step = (o.Accounts - o.Popular) / max(o.Popular*o.PopularFriends, 1)
	return p
}

func (p *population) id(i int) string {
	b := binary.BigEndian.AppendUint64(p.seed[:], uint64(i))
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

func (p *population) member(i int) kv.Member {
	m := kv.Member{User: kv.User{ID: p.id(i), Account: PopulateAccount(i), PasswordHash: p.o.Hash, Mail: PopulateAccount(i) + "@example.org",
		Profile: kv.Profile{Name: firstNames[i%len(firstNames)] + " " + lastNames[i/len(firstNames)%len(lastNames)]}}}
	for _, f := range p.friends(i) {
		m.Friends = append(m.Friends, kv.Friend{ID: p.id(f), Since: p.since})
	}
	return m
}

// friends returns the numbers of the friends of account i. The relation is symmetric.
func (p *population) friends(i int) []int {
	var all []int
	n := p.o.Accounts
	for _, s := range p.strides {
		all = append(all, (i+s)%n, (i-s+n)%n)
	}
	for _, other := range p.additionalFriends(i) {
		if other != i && !slices.Contains(all, other) {
			all = append(all, other)
		}
	}
	return all
}

// additionalFriends returns the additional friends of a popular account. For any other account it returns the popular
// account that has it as an additional friend, if there is one.
func (p *population) additionalFriends(i int) []int {
	if p.step == 0 {
		return nil
	}
	if i >= p.o.Popular {
		fan := (i - p.o.Popular) / p.step
		if (i-p.o.Popular)%p.step == 0 && fan < p.o.Popular*p.o.PopularFriends {
			return []int{fan / p.o.PopularFriends}
		}
		return nil
	}
	var all []int
	for f := range p.o.PopularFriends {
		all = append(all, p.o.Popular+(i*p.o.PopularFriends+f)*p.step)
	}
	return all
}

// The names are as similar as real names: many of them have a common prefix, so a search for a prefix finds many.
var (
	firstNames = [...]string{"Ada", "Alan", "Anna", "Barbara", "Ben", "Carl", "Clara", "Dennis", "Dorothy", "Edgar", "Elena", "Erik", "Frances",
		"Grace", "Hedy", "Ivan", "Jean", "Karen", "Ken", "Leslie", "Lin", "Margaret", "Mary", "Niklaus", "Olga", "Peter", "Radia", "Rózsa", "Sofia",
		"Tim", "Ursula", "Zoë"}
	lastNames = [...]string{"Allen", "Backus", "Bartik", "Cerf", "Clarke", "Dijkstra", "Engelbart", "Floyd", "Goldberg", "Hamilton", "Hopper",
		"Iverson", "Johnson", "Kay", "Knuth", "Lamport", "Liskov", "Lovelace", "Milner", "Moore", "Naur", "Perlis", "Péter", "Ritchie", "Shannon",
		"Sutherland", "Tarjan", "Thompson", "Turing", "Wilkes", "Wirth", "Yao"}
)
