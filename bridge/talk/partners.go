package talk

import (
	"context"
	"slices"

	"imctl/kv"
)

// Partners returns the ids of the users with whom a user may have conversations: its friends, and those in its cursors.
func Partners(r kv.Roster, cursors map[string]kv.Cursor) []string {
	ids := make([]string, 0, len(r.Friends)+len(cursors))
	for _, f := range r.Friends {
		ids = append(ids, f.ID)
	}
	for id := range cursors {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Undelivered returns those of a user's partners in whose conversations no client of the user has the newest dialogue.
func (s *Service) Undelivered(ctx context.Context, user string, r kv.Roster) ([]string, error) {
	panic("later")
}

// TalksOf returns the conversations of a user with these others that have dialogues.
func (s *Service) TalksOf(ctx context.Context, user string, others []string, cursors map[string]kv.Cursor) ([]Talk, error) {
	panic("later")
}
