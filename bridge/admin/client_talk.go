package admin

import (
	"context"
	"iter"
)

// ExportTalks returns the pages of the conversations of users, by their ids. It ends after the first error.
func (c *Client) ExportTalks(ctx context.Context, users []string) iter.Seq2[[]Talk, error] {
	return pages(func(after string) ([]Talk, string, error) {
		p, err := call[Talks](ctx, c, "talk", "export", ExportTalks{Users: users, After: after})
		return p.Talks, p.Next, err
	}, "")
}

// ImportTalks stores conversations. Codes: Invalid, and NotFound if the server keeps none.
func (c *Client) ImportTalks(ctx context.Context, talks []Talk) (ImportResult, error) {
	return call[ImportResult](ctx, c, "talk", "import", ImportTalks{talks})
}

// Talk returns dialogues of a conversation. Codes: NotFound, and Invalid if the server lets no administrator read them.
func (c *Client) Talk(ctx context.Context, r ShowTalk) (ShownTalk, error) {
	return call[ShownTalk](ctx, c, "talk", "show", r)
}

// PurgeTalks erases conversations, or old dialogues. Codes: NotFound, Invalid.
func (c *Client) PurgeTalks(ctx context.Context, r PurgeTalks) (PurgedTalks, error) {
	return call[PurgedTalks](ctx, c, "talk", "purge", r)
}
