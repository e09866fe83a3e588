package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"imctl/bridge/wire"
	"imctl/kv"
	"imctl/kv/keymutex"
)

// ServiceOptions are what a Service works on.
type ServiceOptions struct {
	Prefix string // of all subjects
	Store  *kv.Store
	Hasher *kv.Hasher
	Events *EventLog // nil: nobody is told
	Access Access
	System *nats.Conn // by which connections of NATS clients are closed; nil: they are not
	Log    *slog.Logger
}

// Service does what users and administrators ask for: accounts and friendships are changed in their buckets, then the
// nodes that hold the users concerned are told, and only then the caller hears of it. HTTP, NATS and the command line
// all come here.
type Service struct {
	o           ServiceOptions
	nc          *nats.Conn
	nodes       *nodes
	kv          *kv.Store
	log         *slog.Logger
	work        sync.WaitGroup // what goes on after an answer was given
	registering keymutex.Mutex // by folded account
	gate        gate           // shut while a restore replaces the data
}

// NewService returns a service that tells nodes over nc.
func NewService(nc *nats.Conn, o ServiceOptions) *Service {
	return &Service{o: o, nc: nc, kv: o.Store, log: o.Log, nodes: newNodes(nc, o.Store.Nodes, o.Prefix, o.Log)}
}

// Close waits for what goes on behind answers that were given.
func (s *Service) Close() { s.work.Wait() }

// Register makes an account. It returns kv.ErrAccountExists, kv.ErrPasswordTooLong or kv.ErrBusy among others, or what
// the gate, if there is one, returns: it is asked last, since of many registrations that wait for their turn to hash
// all could have passed it before.
func (s *Service) Register(ctx context.Context, u kv.User, password string, gate func() error) (kv.User, error) {
	leave, err := s.registering.Lock(ctx, kv.FoldAccount(u.Account))
	if err != nil {
		return kv.User{}, err
	}
	defer leave()
	if err := s.kv.Writable(); err != nil { // before the work of hashing
		return kv.User{}, err
	}
	if _, err := s.kv.Users.ByAccount(ctx, u.Account); err == nil {
		return kv.User{}, kv.ErrAccountExists
	} else if !errors.Is(err, kv.ErrUserNotFound) {
		return kv.User{}, err
	}
	hash, err := s.o.Hasher.Hash(ctx, password)
	if err != nil {
		return kv.User{}, err
	}
	if gate != nil {
		if err := gate(); err != nil {
			return kv.User{}, err
		}
	}
	u.PasswordHash = hash
	u, err = s.kv.Users.Create(ctx, u)
	if err == nil {
		s.o.Events.user(userCreated, u)
	}
	return u, err
}

// Authenticate returns the user with that account and password, or wire.WrongCredentials, which an unknown account, a
// wrong password and a disabled account have in common.
func (s *Service) Authenticate(ctx context.Context, account, password string) (kv.User, error) {
	u, err := s.kv.Users.ByAccount(ctx, account)
	if err != nil && !errors.Is(err, kv.ErrUserNotFound) {
		return kv.User{}, err
	}
	v, err := s.o.Hasher.Verify(ctx, u.PasswordHash, password)
	if errors.Is(err, kv.ErrPasswordTooLong) {
		return kv.User{}, wire.WrongCredentials
	}
	if err != nil {
		return kv.User{}, err
	}
	if !v.OK || u.ID == "" || u.Disabled {
		return kv.User{}, wire.WrongCredentials
	}
	if v.Stale {
		s.work.Go(func() { s.rehash(context.WithoutCancel(ctx), u, password) })
	}
	return u, nil
}

// rehash stores the password's hash with today's parameters.
func (s *Service) rehash(ctx context.Context, u kv.User, password string) {
	if s.kv.Writable() != nil {
		return // a later login does it
	}
	hash, err := s.o.Hasher.Hash(ctx, password)
	if err == nil {
		_, err = s.kv.Users.Update(ctx, u.ID, func(now *kv.User) error {
			if now.PasswordHash == u.PasswordHash {
				now.PasswordHash = hash
			}
			return nil
		})
	}
	if err != nil {
		s.log.Warn("rehash a password", "user", u.ID, "err", err)
	}
}

// Resume returns the user that a token belongs to, and the token if it has more than half of its life before it: a
// session may go on with it. Otherwise the session is due a new one; the old one stays good for its time, should the
// answer with the new one be lost. It returns wire.AuthIllegal for a token that is not good.
func (s *Service) Resume(ctx context.Context, id, token string) (kv.User, string, error) {
	me, info, err := s.authorize(ctx, id, token)
	if err != nil || time.Until(info.Expires) < info.Expires.Sub(info.Issued)/2 {
		return me, "", err
	}
	return me, token, nil
}

// Authorize returns the user that a token belongs to, or wire.AuthIllegal.
func (s *Service) Authorize(ctx context.Context, id, token string) (kv.User, error) {
	me, _, err := s.authorize(ctx, id, token)
	return me, err
}

// authorize reads the user and the token side by side.
func (s *Service) authorize(ctx context.Context, id, token string) (u kv.User, info kv.TokenInfo, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		info, err = s.kv.Tokens.Get(ctx, id, token)
		return err
	})
	g.Go(func() (err error) {
		u, err = s.kv.Users.Get(ctx, id)
		return err
	})
	err = g.Wait()
	if errors.Is(err, kv.ErrTokenInvalid) || errors.Is(err, kv.ErrUserNotFound) || err == nil && u.Disabled {
		return kv.User{}, kv.TokenInfo{}, wire.AuthIllegal
	}
	return u, info, err
}

// Found returns the profiles of those whose name is this or begins with it, but for the one who asks.
func (s *Service) Found(ctx context.Context, me kv.User, name string) ([]wire.Profile, error) {
	users, err := s.kv.Users.Find(ctx, name, foundAtMost, me.ID)
	if err != nil {
		return nil, err
	}
	found := make([]wire.Profile, len(users))
	for i, u := range users {
		found[i] = profileOf(u)
	}
	return found, nil
}

// foundAtMost is how many people a search returns.
const foundAtMost = 50

// Request asks a user for its friendship.
func (s *Service) Request(ctx context.Context, me kv.User, to, note string) error {
	if err := s.active(ctx, to); err != nil {
		return err
	}
	c, err := s.kv.Rosters.Request(ctx, me.ID, to, note)
	if errors.Is(err, kv.ErrAlreadyFriends) {
		return s.inForce(ctx, me.ID, to, err)
	}
	if err != nil {
		return err
	}
	s.o.Events.friend(c)
	if c.Kind != kv.Requested {
		return nil
	}
	return s.show(to, wire.AppendApply(nil, wire.Request{ID: me.ID, Name: me.Name, To: to, Note: note}))
}

// Add answers a request, or names one's own end of a friendship.
func (s *Service) Add(ctx context.Context, me kv.User, from, alias string) error {
	if err := s.active(ctx, from); err != nil {
		return err
	}
	c, err := s.kv.Rosters.Add(ctx, me.ID, from, alias)
	if errors.Is(err, kv.ErrAlreadyFriends) || errors.Is(err, kv.ErrNoRequest) {
		return s.inForce(ctx, me.ID, from, err)
	}
	if err != nil {
		return err
	}
	return s.tell(ctx, c)
}

// inForce tells all nodes what the rosters say of a and b: that they are friends, or that they are not. A call that
// changes nothing but tells its caller which of the two holds needs inForce before its answer, since the call that made
// or ended the friendship may not have told all nodes yet. inForce returns answer. If it fails, it returns its own error,
// since the answer does not hold on every node.
func (s *Service) inForce(ctx context.Context, a, b string, answer error) error {
	if a == b || !kv.ValidID(b) { // the caller's own id, or an invalid id: it is in no roster
		return answer
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, end := range [...]struct{ id, other string }{{a, b}, {b, a}} {
		g.Go(func() error {
			r, revision, err := s.kv.Rosters.Get(ctx, end.id)
			if err != nil || revision == 0 { // a user without a roster never had a friend
				return err
			}
			_, friend := r.Friend(end.other)
			_, err = s.nodes.tell(ctx, command{Op: opRoster, User: end.id, Other: end.other, Friend: friend, Revision: revision})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return answer
}

// Remove ends a friendship at both ends, and whatever requests there are between the two.
func (s *Service) Remove(ctx context.Context, me kv.User, to string) error {
	c, err := s.kv.Rosters.Remove(ctx, me.ID, to)
	if errors.Is(err, kv.ErrNotFriends) {
		if told := s.tell(ctx, c); told != nil { // requests between the two may have been withdrawn
			return told
		}
		return s.inForce(ctx, me.ID, to, err)
	}
	if err != nil {
		return err
	}
	return s.tell(ctx, c)
}

// active returns kv.ErrUserNotFound for somebody who cannot become a friend.
func (s *Service) active(ctx context.Context, id string) error {
	if !kv.ValidID(id) {
		return kv.ErrUserNotFound
	}
	u, err := s.kv.Users.Get(ctx, id)
	if err == nil && u.Disabled {
		return kv.ErrUserNotFound
	}
	return err
}

// tell brings a change of two rosters into force on all nodes, then shows it to the two.
func (s *Service) tell(ctx context.Context, c kv.Change) error {
	s.o.Events.friend(c)
	switch c.Kind {
	case kv.Befriended, kv.Removed:
	case kv.Named:
		return s.inForce(ctx, c.A, c.B, nil)
	case kv.Withdrawn: // no roster that a node holds has changed
		return errors.Join(s.show(c.A, wire.AppendRemoved(nil, c.B)), s.show(c.B, wire.AppendRemoved(nil, c.A)))
	default:
		return nil
	}
	befriended := c.Kind == kv.Befriended
	ends := []struct {
		id, other, alias string
		revision         uint64
	}{{c.A, c.B, c.FriendOfA.Alias, c.RevisionA}, {c.B, c.A, c.FriendOfB.Alias, c.RevisionB}}
	g, ctx := errgroup.WithContext(ctx)
	for _, end := range ends {
		if end.revision == 0 { // that roster is as it was
			continue
		}
		g.Go(func() error {
			_, err := s.nodes.tell(ctx, command{Op: opRoster, User: end.id, Other: end.other, Friend: befriended, Revision: end.revision})
			if err != nil {
				return err
			}
			frame := wire.AppendRemoved(nil, end.other)
			if befriended {
				if frame, err = s.friendAdded(ctx, end.other, end.alias); err != nil {
					return err
				}
			}
			return s.show(end.id, frame)
		})
	}
	return g.Wait()
}

// show sends a frame to the user's clients, those by NATS included. It is news: who is not there misses it, and sees
// what came of it at the next login.
func (s *Service) show(id string, frame []byte) error {
	if err := s.nc.Publish(s.o.Prefix+".user."+id+"."+leafNotice, frame); err != nil {
		return fmt.Errorf("notice to user %s: %w", id, err)
	}
	return nil
}

// friendAdded is the frame that shows somebody a new friend. A friend that is gone by now shows no more than its id.
func (s *Service) friendAdded(ctx context.Context, id, alias string) ([]byte, error) {
	u, err := s.kv.Users.Get(ctx, id)
	if errors.Is(err, kv.ErrUserNotFound) {
		u = kv.User{ID: id}
	} else if err != nil {
		return nil, err
	}
	online, err := s.online(ctx, id)
	if err != nil {
		return nil, err
	}
	return wire.AppendAdded(nil, friendOf(u, alias, online)), nil
}

// SetPassword gives the account another password. Its tokens are revoked and its sessions end.
func (s *Service) SetPassword(ctx context.Context, id, password string) error {
	if err := s.kv.Writable(); err != nil {
		return err
	}
	hash, err := s.o.Hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	return s.setHash(ctx, id, hash)
}

// setHash is SetPassword for one that is hashed already. A code that was mailed before is good for nothing after it.
func (s *Service) setHash(ctx context.Context, id, hash string) error {
	u, err := s.kv.Users.Update(ctx, id, func(u *kv.User) error { u.PasswordHash = hash; return nil })
	if err != nil {
		return err
	}
	s.o.Events.user(userPassword, u)
	if err := s.kv.Resets.Remove(ctx, id); err != nil {
		return err
	}
	return s.expel(ctx, id, "password changed")
}

// SetDisabled bars an account from logging in, and ends its tokens and sessions, or lets it in again.
func (s *Service) SetDisabled(ctx context.Context, id string, disabled bool) error {
	changed := false
	u, err := s.kv.Users.Update(ctx, id, func(u *kv.User) error {
		changed = u.Disabled != disabled
		u.Disabled = disabled
		return nil
	})
	if err != nil {
		return err
	}
	if changed {
		s.o.Events.user(disabledEvent(disabled), u)
	}
	if !disabled {
		// A deletion that was cut off may have dropped the roster. Without a roster no user could befriend this one.
		_, err := s.kv.Rosters.Restore(ctx, kv.UserSnapshot{ID: id})
		return err
	}
	return s.expel(ctx, id, "account disabled")
}

// DeleteUser removes an account and all its records. A deletion that is cut off leaves the account disabled. Calling
// DeleteUser again completes it, and so does the next start.
func (s *Service) DeleteUser(ctx context.Context, id string) error {
	u, enabled, err := s.kv.Users.BeginDelete(ctx, id)
	if err != nil {
		return err
	}
	if enabled {
		s.o.Events.user(disabledEvent(true), u)
	}
	if err := s.kv.Resets.Remove(ctx, id); err != nil {
		return err
	}
	if err := s.expel(ctx, id, "account disabled"); err != nil {
		return err
	}
	changes, err := s.kv.Rosters.RemoveUser(ctx, id)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if err := s.tell(ctx, c); err != nil {
			return err
		}
	}
	err = s.kv.Users.Delete(ctx, id)
	if errors.Is(err, kv.ErrUserNotFound) { // another node has completed the deletion at its start
		return nil
	}
	if err == nil {
		s.o.Events.user(userDeleted, kv.User{ID: id})
	}
	return err
}

// expel revokes the user's tokens and ends its sessions on every node.
func (s *Service) expel(ctx context.Context, id, reason string) error {
	if err := s.kv.Tokens.RevokeAll(ctx, id); err != nil {
		return err
	}
	if err := s.CloseSessions(ctx, id, reason); err != nil {
		return err
	}
	return s.kickUser(ctx, id)
}

func profileOf(u kv.User) wire.Profile {
	return wire.Profile{ID: u.ID, Name: u.Name, Picture: u.Picture, Sex: u.Sex, Birthday: u.Birthday, Sign: u.Sign}
}

// friendOf is a user as a friend sees it: under the alias that the friend gave, if any.
func friendOf(u kv.User, alias string, online bool) wire.Friend {
	f := wire.Friend{Profile: profileOf(u), Online: online}
	if alias != "" {
		f.Name = alias
	}
	return f
}
