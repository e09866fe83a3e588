package bridge

import (
	"context"

	"github.com/gorilla/websocket"

	"imctl/bridge/wire"
	"imctl/kv"
)

// UpdateProfile changes what is there in the update. With a new password all other tokens are revoked and all other
// sessions end: those of the token, "" for none, stay. Friends are shown the new profile.
func (s *Service) UpdateProfile(ctx context.Context, me kv.User, c wire.ProfileUpdate, token string) error {
	if err := s.updateProfile(ctx, me, c, token); err != nil || c.Password == nil {
		return err
	}
	return s.kickUser(ctx, me.ID)
}

// updateProfile is UpdateProfile but for the user's connections to NATS.
func (s *Service) updateProfile(ctx context.Context, me kv.User, c wire.ProfileUpdate, token string) error {
	hash := ""
	if c.Password != nil {
		var err error
		if hash, err = s.o.Hasher.Hash(ctx, *c.Password); err != nil {
			return err
		}
	}
	now, err := s.kv.Users.Update(ctx, me.ID, func(u *kv.User) error {
		if hash != "" {
			u.PasswordHash = hash
		}
		set(&u.Name, c.Name)
		if u.Name == "" {
			u.Name = u.Account
		}
		set(&u.Picture, c.Picture)
		set(&u.Sex, c.Sex)
		set(&u.Birthday, c.Birthday)
		set(&u.Sign, c.Sign)
		set(&u.Mail, c.Mail)
		return nil
	})
	if err != nil {
		return err
	}
	s.o.Events.profile(me, now)
	if hash != "" || c.Mail != nil {
		// A code on its way belongs to the password or the address that was.
		if err := s.kv.Resets.Remove(ctx, me.ID); err != nil {
			return err
		}
	}
	if hash != "" {
		if err := s.expelOthers(ctx, me.ID, token); err != nil {
			return err
		}
	}
	if now.Profile == me.Profile {
		return nil
	}
	roster, _, err := s.kv.Rosters.Get(ctx, me.ID)
	if err != nil {
		return err
	}
	frame := wire.AppendRefresh(nil, profileOf(now))
	for _, f := range roster.Friends {
		if err := s.show(f.ID, frame); err != nil {
			return err
		}
	}
	return nil
}

func set(field *string, to *string) {
	if to != nil {
		*field = *to
	}
}

// expelOthers ends all sessions and tokens of a user but those of one token, "" for none.
func (s *Service) expelOthers(ctx context.Context, id, token string) error {
	if err := s.kv.Tokens.RevokeOthers(ctx, id, token); err != nil {
		return err
	}
	c := command{Op: opClose, User: id, Code: websocket.ClosePolicyViolation, Reason: "password changed"}
	if token != "" {
		c.KeepToken = kv.TokenHash(token)
	}
	_, err := s.nodes.tell(ctx, c)
	return err
}

// Logout ends a token and the sessions that live by it.
func (s *Service) Logout(ctx context.Context, id, token string) error {
	if err := s.kv.Tokens.Revoke(ctx, id, token); err != nil {
		return err
	}
	_, err := s.nodes.tell(ctx, command{Op: opClose, User: id, Token: kv.TokenHash(token), Code: websocket.CloseNormalClosure, Reason: "logged out"})
	if err != nil {
		return err
	}
	// NATS does not say which connection came by which token: those by another one, or by the password, come back.
	return s.kickUser(ctx, id)
}
