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

// AccountPrefix is the prefix of all test accounts.
const AccountPrefix = "bench-"

// Crowd creates and removes test accounts. The caller must call Remove at the end, even if Make has failed.
type Crowd interface {
	// Make creates n accounts. friends are pairs of their indexes.
	Make(ctx context.Context, n int, friends iter.Seq2[int, int]) ([]Person, error)
	// Remove removes all accounts that Make has created.
	Remove(ctx context.Context) error
}

// Administered creates accounts with administrator access, hundreds at a time. They have the same password and hash, so
// the server hashes the password only at the first login.
type Administered struct {
	Bulk     *kv.Bulk
	Hash     string // hash of Password, with the parameters of the server
	Password string

	made []kv.Member
}

// Make implements Crowd.
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
	a.made = append(a.made, members...) // before Create, so that Remove finds them if Create fails
	return people, a.Bulk.Create(ctx, func(yield func(kv.Member) bool) {
		for _, m := range a.made[from:] {
			if !yield(m) {
				return
			}
		}
	})
}

// Adopt lets Remove also remove m, which another function has created.
func (a *Administered) Adopt(m kv.Member) { a.made = append(a.made, m) }

// Remove implements Crowd.
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

// Registered creates accounts with the calls of the protocol, without administrator access. It works with any server of
// the protocol. The server hashes each password and applies its limits. Registered cannot remove accounts.
type Registered struct {
	Target   *Target
	Password string
}

// concurrentRegistrations is how many accounts register at the same time.
const concurrentRegistrations = 8

// Make implements Crowd.
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
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(concurrentRegistrations)
	for i := range n {
		people[i] = Person{Account: fmt.Sprintf("%s%s-%d", AccountPrefix, run, i), Password: r.Password}
		group.Go(func() (err error) {
			if err := r.Target.register(groupCtx, people[i]); err != nil {
				return fmt.Errorf("%w: %w", ErrRegister, err)
			}
			if tunnels[i], err = r.Target.login(groupCtx, people[i]); err != nil {
				return err
			}
			people[i].ID = tunnels[i].userID
			go tunnels[i].drain()
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return people, err
	}
	for i, j := range friends {
		if err := r.befriend(ctx, tunnels[i], tunnels[j]); err != nil {
			return people, fmt.Errorf("make friends: %w", err)
		}
	}
	return people, nil
}

func (r *Registered) befriend(ctx context.Context, a, b *tunnel) error {
	if err := r.Target.get(ctx, "/friends/request", a, url.Values{"to": {b.userID}, "note": {"bench"}}); err != nil {
		return err
	}
	if err := r.Target.get(ctx, "/friends/add", b, url.Values{"from": {a.userID}, "name": {"a"}}); err != nil {
		return err
	}
	// Servers that store both ends of a friendship separately need this call too.
	err := r.Target.get(ctx, "/friends/add", a, url.Values{"from": {b.userID}, "name": {"b"}})
	if errors.Is(err, wire.AlreadyFriends) {
		return nil
	}
	return err
}

// Remove implements Crowd. It removes nothing.
func (r *Registered) Remove(context.Context) error { return nil }

func (t *Target) register(ctx context.Context, p Person) error {
	body, err := json.Marshal(map[string]string{"account": p.Account, "password": p.Password, "name": p.Account, "mail": p.Account + "@example.org"})
	if err != nil {
		return err
	}
	return t.call(ctx, http.MethodPost, "/register", strings.NewReader(string(body)))
}

// pairsOf returns the friendships of 0 and 1, 2 and 3, and so on.
func pairsOf(pairs int) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for i := range pairs {
			if !yield(2*i, 2*i+1) {
				return
			}
		}
	}
}

// neighbours returns how many friends each of n users has in circle: friends, or all the others if there are fewer. With
// an odd number of friends and of users, one user has one friend less.
func neighbours(n, friends int) int { return max(0, min(friends, n-1)) }

// circle returns friendships of n users in a circle. The friends of a user are its nearest neighbours, as many before as
// after it, and the user on the other side of the circle if the number is odd.
func circle(n, friends int) iter.Seq2[int, int] {
	friends = neighbours(n, friends)
	return func(yield func(int, int) bool) {
		for i := range n {
			for d := 1; d <= friends/2; d++ {
				if !yield(i, (i+d)%n) {
					return
				}
			}
		}
		for i := range friends % 2 * (n / 2) {
			if !yield(i, i+n/2) {
				return
			}
		}
	}
}
