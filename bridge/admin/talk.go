package admin

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"imctl/kv"
)

const (
	// maxTalkDialogues and maxTalkBytes bound the dialogues of one answer.
	maxTalkDialogues = 200
	maxTalkBytes     = 256 << 10
)

// Talk is a part of a conversation as one of its users sees it, for export and import.
type Talk struct {
	User string `json:"user"` // id
	With string `json:"with"` // id of the other user
	// Numbers of dialogues: the newest one, and how far the two users have come.
	Last     uint64 `json:"last"`
	Got      uint64 `json:"got"`
	Read     uint64 `json:"read"`
	Forgot   uint64 `json:"forgot"` // the dialogues up to this one are hidden from the user
	PeerGot  uint64 `json:"peerGot"`
	PeerRead uint64 `json:"peerRead"`
	// Marks of the user.
	Pinned   bool `json:"pinned,omitempty"`
	Archived bool `json:"archived,omitempty"`
	Muted    bool `json:"muted,omitempty"`

	Dialogues []Dialogue `json:"dialogues"` // ascending, without gaps
}

// Dialogue is a dialogue of a conversation as one of its users sees it.
type Dialogue struct {
	N       uint64          `json:"n"`
	From    string          `json:"from"`
	ID      json.RawMessage `json:"id"`      // a string
	Payload json.RawMessage `json:"payload"` // a string
	At      time.Time       `json:"at"`
	Re      uint64          `json:"re,omitempty"`
	Reacts  uint64          `json:"reacts,omitempty"`
	Edits   uint64          `json:"edits,omitempty"`
	Deletes uint64          `json:"deletes,omitempty"`
	Edited  bool            `json:"edited,omitempty"`
	Deleted bool            `json:"deleted,omitempty"`
}

// ExportTalks requests the conversations of users.
type ExportTalks struct {
	Users []string `json:"users"`           // ids, at most MaxRecords
	After string   `json:"after,omitempty"` // the Next of the previous page
}

// Talks is a page of conversations. A long conversation is in several pages.
type Talks struct {
	Talks []Talk `json:"talks"`
	Next  string `json:"next"` // cursor of the next page, "" on the last
}

// ImportTalks has a page of conversations.
type ImportTalks struct {
	Talks []Talk `json:"talks"`
}

// ShowTalk requests dialogues of a conversation: those before Before, or the newest.
type ShowTalk struct {
	User   string `json:"user"`
	With   string `json:"with"`
	Before uint64 `json:"before,omitempty"`
	Limit  int    `json:"limit,omitempty"` // 1 to 200; 0 is 50
}

// ShownTalk is a part of a conversation as a user sees it. First and Last are the numbers of the oldest and the newest
// dialogue that the user may read, 0 for none.
type ShownTalk struct {
	Dialogues []Dialogue `json:"dialogues"`
	First     uint64     `json:"first"`
	Last      uint64     `json:"last"`
}

// PurgeTalks selects dialogues to erase: all of a user, those of its conversation with another user, or those that were
// stored before a time.
type PurgeTalks struct {
	User   string    `json:"user,omitempty"`
	With   string    `json:"with,omitempty"`
	Before time.Time `json:"before,omitzero"`
}

// PurgedTalks counts what was erased.
type PurgedTalks struct {
	Conversations int    `json:"conversations"` // that were erased as a whole
	Records       uint64 `json:"records"`       // that were before the time
}

func (s *Service) talkEndpoints() []endpoint {
	const dialogue = `{"n", "from", "id", "payload", "at", "re", "reacts", "edits", "deletes", "edited", "deleted"}`
	const talk = `{"user", "with", "last", "got", "read", "forgot", "peerGot", "peerRead", "pinned", "archived", "muted", "dialogues": [` + dialogue + `]}`
	return []endpoint{
		{"talk", "export", "Export the conversations of users, as these users see them",
			`{"users": up to 100 ids, "after": cursor}`, `{"talks": [` + talk + `], "next": cursor, "" on the last page}`,
			"invalid, failed", handler(s.exportTalks)},
		{"talk", "import", "Store exported conversations. Those that exist already are kept",
			`{"talks": [` + talk + `]}`, `{"results": [{"id": that of the user, "state": created, there or failed, "error"}]}, in the order of the talks`,
			"invalid, failed", handler(s.importTalks)},
		{"talk", "show", "Show dialogues of a conversation as a user sees them. It needs the setting admin.read_dialogues",
			`{"user", "with", "before": n, "limit": 1 to 200}`, `{"dialogues": [` + dialogue + `], "first", "last"}`,
			"not_found, invalid, failed", handler(s.showTalk)},
		{"talk", "purge", "Erase the conversations of a user, that of two users, or all dialogues that were stored before a time",
			`{"user"}, {"user", "with"} or {"before": time}`, `{"conversations", "records"}`,
			"not_found, invalid, failed", handler(s.purgeTalks)},
	}
}

// storedTalks returns the stream of conversations. Codes: NotFound.
func (s *Service) storedTalks(ctx context.Context) (*kv.Talks, error) {
	t, err := s.o.Store.StoredTalks(ctx)
	if err == nil && t == nil {
		err = failure(NotFound, "no conversations are kept")
	}
	return t, err
}

// bothOf returns the ids of two users. The second one may be an id of a user that does not exist any more.
func (s *Service) bothOf(ctx context.Context, user, with string) (a, b string, err error) {
	u, err := s.resolve(ctx, user)
	if err != nil {
		return "", "", err
	}
	if id := strings.TrimPrefix(with, "id:"); kv.ValidID(id) {
		return u.ID, id, nil
	}
	v, err := s.resolve(ctx, with)
	return u.ID, v.ID, err
}

func (s *Service) showTalk(ctx context.Context, r ShowTalk) (ShownTalk, error) {
	if !s.o.ReadDialogues {
		return ShownTalk{}, failure(Invalid, "administrators may not read conversations: set admin.read_dialogues to true in the configuration of the server")
	}
	if r.Limit < 0 || r.Limit > maxTalkDialogues {
		return ShownTalk{}, failure(Invalid, "limit must be from 1 to %d", maxTalkDialogues)
	}
	if r.Limit == 0 {
		r.Limit = 50
	}
	stream, err := s.storedTalks(ctx)
	if err != nil {
		return ShownTalk{}, err
	}
	user, with, err := s.bothOf(ctx, r.User, r.With)
	if err != nil {
		return ShownTalk{}, err
	}
	cursors, err := s.o.Store.StoredCursors().Get(ctx, user)
	if err != nil {
		return ShownTalk{}, err
	}
	return fitPage(s, r.Limit, maxTalkDialogues, func(limit int) (ShownTalk, error) {
		page, err := stream.Read(ctx, kv.PairOf(user, with), user, kv.Range{Before: r.Before, Limit: limit, Forgot: cursors[with].Forgot})
		shown := ShownTalk{Dialogues: []Dialogue{}, First: page.First, Last: page.Last}
		for i := range page.Dialogues {
			shown.Dialogues = append(shown.Dialogues, fit(page.Dialogues[i:i+1])...)
		}
		return shown, err
	})
}

func (s *Service) purgeTalks(ctx context.Context, r PurgeTalks) (done PurgedTalks, err error) {
	if (r.User == "") == r.Before.IsZero() || r.With != "" && r.User == "" {
		return done, failure(Invalid, "name a user, a user and with, or a time before")
	}
	if err := s.o.Store.Writable(); err != nil {
		return done, err
	}
	stream, err := s.storedTalks(ctx)
	if err != nil {
		return done, err
	}
	if r.User == "" {
		done.Records, err = stream.RemoveBefore(ctx, r.Before)
		return done, err
	}
	var pairs []kv.Pair
	if r.With != "" {
		a, b, err := s.bothOf(ctx, r.User, r.With)
		if err != nil {
			return done, err
		}
		pairs = []kv.Pair{kv.PairOf(a, b)}
	} else {
		u, err := s.resolve(ctx, r.User)
		if err != nil {
			return done, err
		}
		if pairs, err = stream.PairsOf(ctx, u.ID); err != nil {
			return done, err
		}
	}
	for _, p := range pairs {
		head, err := stream.Last(ctx, p)
		if err != nil {
			return done, err
		}
		if head == nil {
			continue
		}
		if err := stream.Erase(ctx, p); err != nil {
			return done, err
		}
		if len(head.Dialogues) > 0 {
			done.Conversations++
		}
	}
	return done, nil
}
