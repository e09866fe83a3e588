package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// Befriend makes friends of two users at once, without aliases: the administrator's way. The change is Unchanged for
// those who are friends.
//
// Errors: kv.ErrSelf, kv.ErrUserNotFound, kv.ErrTooManyFriends, kv.ErrConflict.
func (s *Service) Befriend(ctx context.Context, a, b string) (kv.Change, error) {
	c, err := s.kv.Rosters.Befriend(ctx, a, b)
	if err != nil {
		return c, err
	}
	if c.Kind == kv.Unchanged {
		return c, s.inForce(ctx, a, b, nil)
	}
	return c, s.tell(ctx, c)
}

// Unfriend ends a friendship at both ends. Errors: kv.ErrNotFriends, kv.ErrConflict.
func (s *Service) Unfriend(ctx context.Context, a, b string) error {
	return s.Remove(ctx, kv.User{ID: a}, b)
}

// EndSessions ends sessions of a user on whatever node they are: those named, or all, and with all its connections to
// NATS. The user may come back at once.
func (s *Service) EndSessions(ctx context.Context, id, reason string, sessions ...string) error {
	if err := s.CloseSessions(ctx, id, reason, sessions...); err != nil || len(sessions) > 0 {
		return err
	}
	return s.kickUser(ctx, id)
}

// RevokeTokens ends tokens of a user, by their hashes, and the sessions that live by them.
func (s *Service) RevokeTokens(ctx context.Context, id string, hashes ...string) error {
	for _, hash := range hashes {
		if err := s.kv.Tokens.RevokeHash(ctx, id, hash); err != nil {
			return err
		}
		_, err := s.nodes.tell(ctx, command{Op: opClose, User: id, Token: hash, Code: websocket.ClosePolicyViolation, Reason: "token revoked"})
		if err != nil {
			return err
		}
	}
	if len(hashes) == 0 {
		return nil
	}
	return s.kickUser(ctx, id)
}

// RestoreUsers makes the accounts that are not there yet, as they were; see kv.Users.Restore.
func (s *Service) RestoreUsers(ctx context.Context, users []kv.User) []kv.Restored {
	all := s.kv.Users.Restore(ctx, users)
	var made []kv.UserSnapshot
	for _, r := range all {
		if r.Created {
			s.o.Events.user(userCreated, r.User)
			made = append(made, kv.UserSnapshot{ID: r.User.ID})
		}
	}
	// Who was deleted a moment ago can have friends again from now on, not only when that is forgotten.
	if _, err := s.kv.Rosters.Restore(ctx, made...); err != nil {
		for i := range all {
			if all[i].Created {
				all[i].Err = err
			}
		}
	}
	return all
}

// RestoreRosters adds to the rosters of users and of those whom they name what they lack of restorations, and returns
// what changed, also beside an error; see kv.Rosters.Restore. Who has a session is shown new friends; requests are seen
// at the next login.
func (s *Service) RestoreRosters(ctx context.Context, all ...kv.UserSnapshot) ([]kv.Change, error) {
	changes, err := s.kv.Rosters.Restore(ctx, all...)
	c := command{Op: opFriends}
	for _, change := range changes {
		s.o.Events.friend(change)
		if change.Kind == kv.Befriended {
			c.Friends = append(c.Friends, newFriend{change.A, change.B, change.FriendOfA.Alias, change.RevisionA},
				newFriend{change.B, change.A, change.FriendOfB.Alias, change.RevisionB})
		}
	}
	for some := range slices.Chunk(c.Friends, friendsTold) {
		_, told := s.nodes.tell(ctx, command{Op: opFriends, Friends: some})
		err = errors.Join(err, told)
	}
	return changes, err
}

// friendsTold bounds one command, which has to fit into a message.
const friendsTold = 1000

// newFriend is a friendship as a command tells it, of one of the two.
type newFriend struct {
	User     string `json:"user"`
	Other    string `json:"other"`
	Alias    string `json:"alias,omitempty"` // that User gave Other
	Revision uint64 `json:"revision"`
}

// befriended brings friendships into force that were restored, and shows them to those who are here.
func (b *Bridge) befriended(friends []newFriend) {
	ctx, cancel := context.WithTimeout(context.Background(), commandWait)
	defer cancel()
	for _, f := range friends {
		u := b.lane(f.User).user(f.User)
		if u == nil {
			continue
		}
		u.apply(f.Other, true, f.Revision)
		frame, err := b.service.friendAdded(ctx, f.Other, f.Alias)
		if err != nil {
			b.log.Warn("show a new friend", "user", f.User, "err", err)
			continue
		}
		u.notice(frame)
	}
}

// followerWait is how long the log's consumer stays that nobody takes entries from any more.
const followerWait = 10 * time.Second

// FollowLog makes a consumer on the log for somebody who watches: it begins now, holds nothing back for later, and goes
// by itself when nobody asks it any more. Every dialogue that is sent after it returned, and answered 200, is seen; in
// return the answers wait for the log meanwhile. Returned are the names of stream and consumer.
//
// Errors: kv.ErrAttachmentInvalid for a filter that is none.
func (s *Service) FollowLog(ctx context.Context, filter string) (stream, consumer string, err error) {
	if filter == "" {
		filter = ">"
	}
	if !validFilter(filter) {
		return "", "", fmt.Errorf("%w: %s", kv.ErrAttachmentInvalid, filterMeans)
	}
	js, err := jetstream.New(s.nc)
	if err != nil {
		return "", "", err
	}
	stream = logStreamName(s.o.Prefix)
	c, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Description:       "somebody who watches",
		DeliverPolicy:     jetstream.DeliverNewPolicy,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		InactiveThreshold: followerWait,
		FilterSubject:     s.o.Prefix + ".log." + filter,
	})
	if err != nil {
		return "", "", fmt.Errorf("follow the log: %w", err)
	}
	return stream, c.CachedInfo().Name, s.LogAttached(ctx)
}
