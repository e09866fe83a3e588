package kv

import "context"

// Record is one message of the stream of conversations: dialogues of one conversation that were committed together.
// It points to earlier records of the conversation.
type Record struct {
	Pair        Pair
	Seq         uint64 // sequence in the stream; 0: not stored
	Nonce       uint64 // random, of the writer: tells whether a commit with unknown outcome has been stored
	First, Last uint64 // numbers of its dialogues; Last is First-1 if it has none
	Dialogues   []Dialogue
}

// EmptyRecord returns the record in front of a conversation without records, whose next dialogue has the number base+1.
func EmptyRecord(p Pair, base uint64) *Record { panic("later") }

// Next returns the record that follows r, with these dialogues. It sets their numbers.
func (r *Record) Next(nonce uint64, dialogues []Dialogue) *Record { panic("later") }

// Append appends the encoded record. DecodeRecord is its inverse.
func (r *Record) Append(dst []byte) []byte { panic("later") }

// DecodeRecord decodes a record of the conversation p with a sequence.
func DecodeRecord(p Pair, seq uint64, data []byte) (*Record, error) { panic("later") }

// Talks is the stream of conversations.
type Talks struct{}

// Stream returns the name of the stream. Subject returns the subject of a conversation. A writer publishes records on it
// and expects the sequence of the record before it (Nats-Expected-Last-Subject-Sequence).
func (t *Talks) Stream() string        { panic("later") }
func (t *Talks) Subject(p Pair) string { panic("later") }

// Last returns the newest record of a conversation, or nil if it has none. It never uses an outdated replica.
func (t *Talks) Last(ctx context.Context, p Pair) (*Record, error) { panic("later") }

// LastOf returns the newest records of conversations. Those without records are not in the map.
func (t *Talks) LastOf(ctx context.Context, pairs []Pair) (map[Pair]*Record, error) { panic("later") }

// Find returns the record that has dialogue n, which is r or before it. Errors: ErrNoDialogue.
func (t *Talks) Find(ctx context.Context, r *Record, n uint64) (*Record, error) { panic("later") }

// Before returns the record before r, or nil if there is none any more.
func (t *Talks) Before(ctx context.Context, r *Record) (*Record, error) { panic("later") }

// Range selects Limit dialogues of a conversation: those after After with Forward, otherwise those before Before, or the
// newest if that is 0.
type Range struct {
	Before, After uint64
	Forward       bool
	Limit         int
	Forgot        uint64 // dialogues up to this one are not shown
}

// Page is a part of a conversation as one of its users sees it.
type Page struct {
	Dialogues   []Dialogue // ascending
	First, Last uint64     // numbers of the oldest and the newest dialogue that the user may read; 0: none
}

// Read returns a part of a conversation as a user sees it: with later changes applied, and what is hidden from the user
// as deleted.
func (t *Talks) Read(ctx context.Context, p Pair, user string, r Range) (Page, error) { panic("later") }

// Shown returns the dialogues of a record as a user sees them, with later changes up to head applied.
func (t *Talks) Shown(ctx context.Context, head, r *Record, user string) ([]Dialogue, error) {
	panic("later")
}

// Erase removes all dialogues of a conversation. Its numbers go on.
func (t *Talks) Erase(ctx context.Context, p Pair) error { panic("later") }
