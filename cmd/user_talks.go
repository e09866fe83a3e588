package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"imctl/bridge/admin"
)

// recordLine is a line of an export: a user, or a part of a conversation.
type recordLine struct {
	admin.Record
	Talk *admin.Talk `json:"talk,omitempty"`
}

// talkLine is a line of an export with a part of a conversation.
type talkLine struct {
	Version int        `json:"v"`
	Talk    admin.Talk `json:"talk"`
}

// exportTalks writes the conversations of users.
func exportTalks(ctx context.Context, s *adminConn, users []admin.Record, out io.Writer) error {
	ids := make([]string, len(users))
	for i := range users {
		ids[i] = users[i].ID
	}
	if len(ids) == 0 {
		return nil
	}
	for page, err := range s.ExportTalks(ctx, ids) {
		if err != nil {
			return err
		}
		for _, talk := range page {
			if err := writeJSON(out, talkLine{1, talk}); err != nil {
				return err
			}
		}
	}
	return nil
}

// talks reads the input and sends its conversations one after the other: a part of a conversation follows the one before
// it. With forgot it sends only the conversations of which the user has hidden a part, otherwise only the rest. So if both
// users of a conversation are in the input, it sends the view of the user that sees more of it first.
func (i *importer) talks(ctx context.Context, forgot bool) error {
	if i.source.format != formatIMCTL && i.source.format != formatJSONL {
		return nil
	}
	return i.each(ctx, func(e *importEntry) error {
		if e.Talk == nil || e.Talk.Forgot > 0 != forgot || i.isInvalid(e.n) {
			return nil
		}
		if i.trial != nil {
			i.Dialogues += len(e.Talk.Dialogues)
			return nil
		}
		result, err := i.client.ImportTalks(ctx, []admin.Talk{*e.Talk})
		var refused *admin.Error
		if errors.As(err, &refused) && refused.Code == admin.NotFound {
			return i.reportInvalid(e, "the server keeps no conversations: set dialogues.keep, or remove the lines with talk")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.at, err)
		}
		r := result.Results[0]
		if r.State == admin.StateFailed {
			return i.reportInvalid(e, r.Error)
		}
		i.Dialogues += r.Dialogues
		i.Missing += r.Missing
		i.progress.update("%d dialogues", i.Dialogues)
		return nil
	})
}
