package bridge

import (
	"context"
	"errors"
	"fmt"
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
	for _, r := range all {
		if r.Made {
			s.o.Events.user(userCreated, r.User)
		}
	}
	return all
}

// RestoreRoster adds to the rosters of a user and of those whom it names what they lack of a restoration, and returns
// what changed; see kv.Rosters.Restore. Who is online is shown new friends; requests are seen at the next login.
func (s *Service) RestoreRoster(ctx context.Context, id string, was kv.Restoration) ([]kv.Change, error) {
	changes, err := s.kv.Rosters.Restore(ctx, id, was)
	for _, c := range changes {
		err = errors.Join(err, s.tell(ctx, c))
	}
	return changes, err
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
