// Package talk keeps conversations: it numbers dialogues, commits them in groups, and knows how far each user has come.
package talk

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natsutil"
	"imctl/kv"
)

// ErrBusy: too many dialogues wait for their commit.
var ErrBusy = errors.New("too many dialogues wait for their commit")

// Options configure a Service.
type Options struct {
	Connect natsutil.Connect
	Talks   *kv.Talks
	Cursors *kv.Cursors
	Plain   bool          // NATS does not sync each write: an atomic batch costs more than single messages
	Timeout time.Duration // of a dialogue: not committed by then, it is refused
	// Receipts shows friends what a user has read.
	Receipts bool
	// Advanced is called after a user's client has acknowledged or read dialogues of a conversation. It must not block.
	Advanced func(user, with string, got, read uint64)
	// Gather delays the flush of frames while commits are answered, until end is called.
	Gather   func() (end func())
	Registry prometheus.Registerer
	Log      *slog.Logger
}

// Done takes the outcome of a dialogue. One of its methods is called once, in the order of the numbers of a
// conversation. They must not block.
type Done interface {
	// Stored: the dialogue is kept. d is valid during the call. again means that it was stored before, and that d is the
	// first one.
	Stored(d *kv.Dialogue, again bool)
	// Failed: it is not stored, as far as the server knows. Errors: wire.ProtocolError for a number that does not exist or
	// is not the sender's; all others mean 507.
	Failed(err error)
}

// Service keeps the conversations of the users that send on this node.
type Service struct{}

// Open starts a service.
func Open(ctx context.Context, opts Options) (*Service, error) { panic("later") }

// Close commits what waits. When ctx ends, it refuses the rest.
func (s *Service) Close(ctx context.Context) error { panic("later") }

// Add queues a dialogue from its sender to a user. It copies ID and Payload. After an error done is not called.
//
// Errors: ErrBusy.
func (s *Service) Add(to string, d kv.Dialogue, done Done) error { panic("later") }

// Abort refuses the dialogues that wait, after the connection to NATS was lost.
func (s *Service) Abort() { panic("later") }

// Got notes that a client of user has all dialogues with another user up to n. Read implies Got. They return at once. A
// number beyond the newest dialogue counts as that one.
func (s *Service) Got(user, with string, n uint64)  { panic("later") }
func (s *Service) Read(user, with string, n uint64) { panic("later") }

// Cursors returns how far a user has come, by the id of the friend, with what is not written yet.
func (s *Service) Cursors(ctx context.Context, user string) (map[string]kv.Cursor, error) {
	panic("later")
}

// Flush writes the cursors of a user, at the end of a session.
func (s *Service) Flush(user string) { panic("later") }

// Forget hides a conversation up to now from a user. When both users have done so, it is erased.
func (s *Service) Forget(ctx context.Context, user, with string) error { panic("later") }

// History returns a part of a conversation as a user sees it.
func (s *Service) History(ctx context.Context, user, with string, r kv.Range) (kv.Page, error) {
	panic("later")
}

// Talk is a conversation of a user: its cursor and its newest dialogue as the user sees it; nil if there is none to see.
type Talk struct {
	kv.Cursor
	Entry *kv.Dialogue
}

// Talks returns the conversations of a user that have dialogues: those with friends, and those in its cursors.
func (s *Service) Talks(ctx context.Context, user string, friends []string) ([]Talk, error) {
	panic("later")
}
