package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"imctl/bridge/wire"
	"imctl/kv"
)

// AccountPrefix is what the accounts of all people begin with who are made for load.
const AccountPrefix = "bench-"

// Crowd makes people and removes them. Who made somebody calls Remove in the end, also when making failed.
type Crowd interface {
	// Make makes n people. friends are pairs of their indexes.
	Make(ctx context.Context, n int, friends iter.Seq2[int, int]) ([]Person, error)
	// Remove removes everybody that Make made.
	Remove(ctx context.Context) error
}

// Administered makes people through the administrator's access, hundreds at a time. They all have one password and one
// hash, so that the first login among them is the only one that has to hash it.
type Administered struct {
	Bulk     *kv.Bulk
	Hash     string // of Password, with the parameters that the server has
	Password string

	made []kv.Member
}

// Make is Crowd's.
func (a *Administered) Make(ctx context.Context, n int, friends iter.Seq2[int, int]) ([]Person, error) {
	from, run, since := len(a.made), kv.NewID()[:8], time.Now().UTC().Truncate(time.Second)
	people := make([]Person, n)
	members := make([]kv.Member, n)
	for i := range n {
		people[i] = Person{ID: kv.NewID(), Account: fmt.Sprintf("%s%s-%d", AccountPrefix, run, i), Password: a.Password}
		members[i].User = kv.User{ID: people[i].ID, Account: people[i].Account, PasswordHash: a.Hash,
			Profile: kv.Profile{Name: fmt.Sprintf("%s %d", run, i)}}
	}
	for i, j := range friends {
		members[i].Friends = append(members[i].Friends, kv.Friend{ID: people[j].ID, Since: since})
		members[j].Friends = append(members[j].Friends, kv.Friend{ID: people[i].ID, Since: since})
	}
	a.made = append(a.made, members...) // before the first of them is there: Remove must miss nobody
	return people, a.Bulk.Create(ctx, func(yield func(kv.Member) bool) {
		for _, m := range a.made[from:] {
			if !yield(m) {
				return
			}
		}
	})
}

// Adopt has Remove remove somebody whom others made.
func (a *Administered) Adopt(m kv.Member) { a.made = append(a.made, m) }

// Remove is Crowd's.
func (a *Administered) Remove(ctx context.Context) error {
	err := a.Bulk.Remove(ctx, func(yield func(kv.Member) bool) {
		for _, m := range a.made {
			if !yield(m) {
				return
			}
		}
	})
	if err == nil {
		a.made = nil
	}
	return err
}

// Registered makes people by the protocol's own calls, as anybody could, on any server that speaks it: each registration
// costs a hash, and the server's limits hold. It can't remove them.
type Registered struct {
	Target   *Target
	Password string
}

// registerAtOnce is how many people register side by side.
const registerAtOnce = 8

// Make is Crowd's.
func (r *Registered) Make(ctx context.Context, n int, friends iter.Seq2[int, int]) ([]Person, error) {
	run := kv.NewID()[:8]
	people, tunnels := make([]Person, n), make([]*tunnel, n)
	defer func() {
		for _, c := range tunnels {
			if c != nil {
				c.close()
			}
		}
	}()
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(registerAtOnce)
	for i := range n {
		people[i] = Person{Account: fmt.Sprintf("%s%s-%d", AccountPrefix, run, i), Password: r.Password}
		group.Go(func() (err error) {
			if err := r.Target.register(running, people[i]); err != nil {
				return fmt.Errorf("register: %w", err)
			}
			if tunnels[i], err = r.Target.login(running, people[i]); err != nil {
				return err
			}
			people[i].ID = tunnels[i].me
			go tunnels[i].drain()
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return people, err
	}
	for i, j := range friends {
		if err := r.befriend(ctx, tunnels[i], tunnels[j]); err != nil {
			return people, fmt.Errorf("become friends: %w", err)
		}
	}
	return people, nil
}

func (r *Registered) befriend(ctx context.Context, a, b *tunnel) error {
	if err := r.Target.get(ctx, "/friends/request", a, url.Values{"to": {b.me}, "note": {"bench"}}); err != nil {
		return err
	}
	if err := r.Target.get(ctx, "/friends/add", b, url.Values{"from": {a.me}, "name": {"a"}}); err != nil {
		return err
	}
	// Servers that keep friendships by their two ends want this too.
	err := r.Target.get(ctx, "/friends/add", a, url.Values{"from": {b.me}, "name": {"b"}})
	if errors.Is(err, wire.AlreadyFriends) {
		return nil
	}
	return err
}

// Remove is Crowd's.
func (r *Registered) Remove(context.Context) error { return nil }

func (t *Target) register(ctx context.Context, p Person) error {
	body, err := json.Marshal(map[string]string{"account": p.Account, "password": p.Password, "name": p.Account, "mail": p.Account + "@example.org"})
	if err != nil {
		return err
	}
	return t.call(ctx, http.MethodPost, "/register", strings.NewReader(string(body)))
}

// pairsOf makes friends of 0 and 1, 2 and 3, and so on.
func pairsOf(pairs int) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for i := range pairs {
			if !yield(2*i, 2*i+1) {
				return
			}
		}
	}
}

// neighbours is how many of so many friends n people who sit in a circle can have: the same number to the left and to the right.
func neighbours(n, friends int) int { return 2 * min(friends/2, (n-1)/2) }

// circle makes friends of those next to each other when n people sit in a circle.
func circle(n, friends int) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for i := range n {
			for d := 1; d <= neighbours(n, friends)/2; d++ {
				if !yield(i, (i+d)%n) {
					return
				}
			}
		}
	}
}
