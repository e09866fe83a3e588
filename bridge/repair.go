package bridge

import (
	"context"
	"errors"

	"imctl/kv"
)

// Repair completes the changes that a process left unfinished when it ended: deletions of users, changes of names,
// additions and removals of attachments. If it completes any, it logs one line. Its duration does not depend on the
// number of accounts.
func (s *Service) Repair(ctx context.Context) error {
	done, deleting, err := s.kv.Users.CompleteUnfinished(ctx)
	if err != nil {
		return err
	}
	for _, id := range deleting {
		err := s.DeleteUser(ctx, id)
		if errors.Is(err, kv.ErrUserNotFound) { // another node has completed it
			continue
		}
		if err != nil {
			return err
		}
		done.Users++
	}
	unfinished, err := s.kv.Attachments.Unfinished(ctx)
	if err != nil {
		return err
	}
	for _, a := range unfinished {
		if err := s.AttachRemove(ctx, a.Name); err != nil && !errors.Is(err, kv.ErrAttachmentNotFound) {
			return err
		}
	}
	if err := s.expectConsumers(ctx); err != nil {
		return err
	}
	if done != (kv.Completed{}) || len(unfinished) > 0 {
		s.log.Info("repaired after an unclean stop", "users", done.Users, "names", done.Names, "attachments", len(unfinished))
	}
	return nil
}
