package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Client calls the service. Every method's errors are *Error for what the service
// answered, ErrNoService where there is none, and the context's and the connection's own.
type Client struct {
	nc     *nats.Conn
	prefix string
}

// NewClient returns a client of the service whose subjects begin with prefix. The connection stays the caller's.
func NewClient(nc *nats.Conn, prefix string) *Client { return &Client{nc: nc, prefix: prefix} }

// ListUsers returns one page.
func (c *Client) ListUsers(ctx context.Context, r ListUsers) (Users, error) {
	return call[Users](ctx, c, "user", "list", r)
}

// AllUsers asks for page after page, beginning with r's. It ends behind the first error.
func (c *Client) AllUsers(ctx context.Context, r ListUsers) iter.Seq2[[]User, error] {
	return func(yield func([]User, error) bool) {
		for {
			page, err := c.ListUsers(ctx, r)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(page.Users, nil) || page.Next == "" {
				return
			}
			r.After = page.Next
		}
	}
}

// User returns all about one user. Codes: NotFound.
func (c *Client) User(ctx context.Context, user string) (UserDetails, error) {
	return call[UserDetails](ctx, c, "user", "show", UserRef{user})
}

// CreateUser makes an account. Codes: AlreadyExists, Invalid.
func (c *Client) CreateUser(ctx context.Context, r CreateUser) (User, error) {
	return call[User](ctx, c, "user", "create", r)
}

// SetPassword changes a password. Codes: NotFound, Invalid.
func (c *Client) SetPassword(ctx context.Context, user, password string) (User, error) {
	return call[User](ctx, c, "user", "passwd", SetPassword{user, password})
}

// DisableUser bars an account. Codes: NotFound.
func (c *Client) DisableUser(ctx context.Context, user string) (User, error) {
	return call[User](ctx, c, "user", "disable", UserRef{user})
}

// EnableUser lets an account in again. Codes: NotFound.
func (c *Client) EnableUser(ctx context.Context, user string) (User, error) {
	return call[User](ctx, c, "user", "enable", UserRef{user})
}

// DeleteUser removes an account and returns what it was. Codes: NotFound.
func (c *Client) DeleteUser(ctx context.Context, user string) (User, error) {
	return call[User](ctx, c, "user", "delete", UserRef{user})
}

// Ping returns nil when the service is there.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.ListUsers(ctx, ListUsers{Limit: 1})
	return err
}

// callTimeout is for a service that never answers; it leaves the service the time that a request may take there.
const callTimeout = time.Minute

func call[Answer any](ctx context.Context, c *Client, noun, verb string, request any) (answer Answer, err error) {
	data, err := json.Marshal(request)
	if err != nil {
		return answer, fmt.Errorf("admin: %s %s: %w", noun, verb, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	msg, err := c.nc.RequestWithContext(ctx, subject(c.prefix, noun, verb), data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return answer, ErrNoService
	case err != nil:
		return answer, fmt.Errorf("admin: %s %s: %w", noun, verb, err)
	}
	if code := msg.Header.Get(micro.ErrorCodeHeader); code != "" {
		return answer, &Error{Code: Code(code), Message: msg.Header.Get(micro.ErrorHeader)}
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return answer, fmt.Errorf("admin: %s %s: the answer can't be read: %w", noun, verb, err)
	}
	return answer, nil
}
