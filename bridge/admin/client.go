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

	"imctl/bridge/subject"
	"imctl/kv"
)

// Client calls the service. The errors of all methods are *Error for a failure reported by the service, ErrNoService
// if no service answers, and the errors of the context and the connection. Methods document the codes of *Error,
// besides Failed and Restoring.
type Client struct {
	nc     *nats.Conn
	prefix string
	name   string // for the audit trail
}

// NewClient returns a client of the service whose subjects begin with prefix. The caller keeps and closes nc.
func NewClient(nc *nats.Conn, prefix string) *Client {
	return &Client{nc: nc, prefix: prefix, name: actorName(nc.Opts.Name)}
}

// ListUsers returns one page.
func (c *Client) ListUsers(ctx context.Context, r ListUsers) (Users, error) {
	return call[Users](ctx, c, "user", "list", r)
}

// pages requests page after page. It ends after the first error.
func pages[T any](next func(after string) ([]T, string, error), after string) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		for {
			page, cursor, err := next(after)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(page, nil) || cursor == "" {
				return
			}
			after = cursor
		}
	}
}

// AllUsers returns the pages of accounts, beginning with that of r. It ends after the first error.
func (c *Client) AllUsers(ctx context.Context, r ListUsers) iter.Seq2[[]User, error] {
	return pages(func(after string) ([]User, string, error) {
		r.After = after
		p, err := c.ListUsers(ctx, r)
		return p.Users, p.Next, err
	}, r.After)
}

// User returns the details of one user. Codes: NotFound.
func (c *Client) User(ctx context.Context, user string) (UserDetails, error) {
	return call[UserDetails](ctx, c, "user", "show", UserRef{user})
}

// CreateUser creates an account. Codes: AlreadyExists, Invalid.
func (c *Client) CreateUser(ctx context.Context, r CreateUser) (User, error) {
	return call[User](ctx, c, "user", "create", r)
}

// SetPassword sets a new password. Codes: NotFound, Invalid.
func (c *Client) SetPassword(ctx context.Context, user, password string) (User, error) {
	return call[User](ctx, c, "user", "passwd", SetPassword{user, password})
}

// SetSource changes what checks the sign-in of a user. Codes: NotFound, Invalid.
func (c *Client) SetSource(ctx context.Context, r SetSource) (User, error) {
	return call[User](ctx, c, "user", "source", r)
}

// DisableUser disables an account. Codes: NotFound.
func (c *Client) DisableUser(ctx context.Context, user string) (User, error) {
	return call[User](ctx, c, "user", "disable", UserRef{user})
}

// EnableUser enables an account. Codes: NotFound.
func (c *Client) EnableUser(ctx context.Context, user string) (User, error) {
	return call[User](ctx, c, "user", "enable", UserRef{user})
}

// DeleteUser deletes an account and returns it. Codes: NotFound.
func (c *Client) DeleteUser(ctx context.Context, user string) (User, error) {
	return call[User](ctx, c, "user", "delete", UserRef{user})
}

// LookUp returns the users with these ids, at most MaxPage.
func (c *Client) LookUp(ctx context.Context, ids []string) (Users, error) {
	return call[Users](ctx, c, "user", "lookup", LookUp{ids})
}

// Friends returns the pages of a user's friends, or of its requests. It ends after the first error. Codes: NotFound.
func (c *Client) Friends(ctx context.Context, r ListFriends) iter.Seq2[[]Friend, error] {
	return pages(func(after string) ([]Friend, string, error) {
		r.After = after
		p, err := call[Friends](ctx, c, "friend", "list", r)
		return p.Friends, p.Next, err
	}, r.After)
}

// AddFriend makes two users friends. Codes: NotFound, AlreadyExists, Invalid.
func (c *Client) AddFriend(ctx context.Context, user, friend string) (Friendship, error) {
	return call[Friendship](ctx, c, "friend", "add", Pair{user, friend})
}

// RemoveFriend ends a friendship. Codes: NotFound.
func (c *Client) RemoveFriend(ctx context.Context, user, friend string) (Friendship, error) {
	return call[Friendship](ctx, c, "friend", "remove", Pair{user, friend})
}

// Sessions returns the pages of the sessions. It ends after the first error. Codes: NotFound, Unavailable.
func (c *Client) Sessions(ctx context.Context, r ListSessions) iter.Seq2[[]Session, error] {
	return pages(func(after string) ([]Session, string, error) {
		r.After = after
		p, err := call[Sessions](ctx, c, "session", "list", r)
		return p.Sessions, p.Next, err
	}, r.After)
}

// CloseSessions ends sessions of a user, all if no ids are given, and returns them. Codes: NotFound, Unavailable.
func (c *Client) CloseSessions(ctx context.Context, user string, ids ...string) (Sessions, error) {
	return call[Sessions](ctx, c, "session", "close", CloseSessions{user, ids})
}

// Tokens returns the pages of a user's tokens. It ends after the first error. Codes: NotFound.
func (c *Client) Tokens(ctx context.Context, r ListTokens) iter.Seq2[[]Token, error] {
	return pages(func(after string) ([]Token, string, error) {
		r.After = after
		p, err := call[Tokens](ctx, c, "token", "list", r)
		return p.Tokens, p.Next, err
	}, r.After)
}

// RevokeTokens revokes tokens of a user, all if no hashes are given, and returns them. Codes: NotFound, Invalid.
func (c *Client) RevokeTokens(ctx context.Context, user string, hashes ...string) (Tokens, error) {
	return call[Tokens](ctx, c, "token", "revoke", RevokeTokens{user, hashes})
}

// Reports returns the pages of the reports, oldest first. It ends after the first error.
func (c *Client) Reports(ctx context.Context, r ListReports) iter.Seq2[[]Report, error] {
	return pages(func(after string) ([]Report, string, error) {
		r.After = after
		p, err := call[Reports](ctx, c, "report", "list", r)
		return p.Reports, p.Next, err
	}, r.After)
}

// Report returns a report. Codes: NotFound.
func (c *Client) Report(ctx context.Context, id string) (Report, error) {
	return call[Report](ctx, c, "report", "show", ReportRef{id})
}

// RemoveReport removes a report and returns it. Codes: NotFound.
func (c *Client) RemoveReport(ctx context.Context, id string) (Report, error) {
	return call[Report](ctx, c, "report", "remove", ReportRef{id})
}

// AddAttachment adds a program that may log in to NATS. Codes: AlreadyExists, Invalid.
func (c *Client) AddAttachment(ctx context.Context, r AddAttachment) (AttachmentSecret, error) {
	return call[AttachmentSecret](ctx, c, "attach", "add", r)
}

// Attachments returns all attachments.
func (c *Client) Attachments(ctx context.Context) (Attachments, error) {
	return call[Attachments](ctx, c, "attach", "list", struct{}{})
}

// RotateAttachment gives an attachment a new secret. Codes: NotFound.
func (c *Client) RotateAttachment(ctx context.Context, name string) (AttachmentSecret, error) {
	return call[AttachmentSecret](ctx, c, "attach", "rotate", AttachmentRef{name})
}

// RemoveAttachment removes an attachment and returns it. Codes: NotFound.
func (c *Client) RemoveAttachment(ctx context.Context, name string) (kv.Attachment, error) {
	return call[kv.Attachment](ctx, c, "attach", "remove", AttachmentRef{name})
}

// ResumeAttachment gives a detached attachment a new consumer, and returns it. Codes: NotFound, Invalid.
func (c *Client) ResumeAttachment(ctx context.Context, name string) (kv.Attachment, error) {
	return call[kv.Attachment](ctx, c, "attach", "resume", AttachmentRef{name})
}

// CreateInvite creates an invite. Codes: Invalid.
func (c *Client) CreateInvite(ctx context.Context, r CreateInvite) (InviteLink, error) {
	return call[InviteLink](ctx, c, "invite", "create", r)
}

// Invites returns the pages of the invites. It ends after the first error.
func (c *Client) Invites(ctx context.Context, r ListInvites) iter.Seq2[[]kv.Invite, error] {
	return pages(func(after string) ([]kv.Invite, string, error) {
		r.After = after
		p, err := call[Invites](ctx, c, "invite", "list", r)
		return p.Invites, p.Next, err
	}, r.After)
}

// RevokeInvite revokes an invite and returns it. Codes: NotFound.
func (c *Client) RevokeInvite(ctx context.Context, id string) (kv.Invite, error) {
	return call[kv.Invite](ctx, c, "invite", "revoke", InviteRef{id})
}

// Status returns the state of the servers.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, "server", "status", struct{}{})
}

// FollowLog creates an ephemeral consumer of the log, for following it live. Codes: Invalid, Unavailable.
func (c *Client) FollowLog(ctx context.Context, filter string) (Follower, error) {
	return call[Follower](ctx, c, "log", "follow", FollowLog{filter})
}

// Export returns the record of one user, or the pages of all records if user is "". It ends after the first error.
// Codes: NotFound.
func (c *Client) Export(ctx context.Context, user string) iter.Seq2[[]Record, error] {
	return pages(func(after string) ([]Record, string, error) {
		p, err := call[Records](ctx, c, "user", "export", ExportUsers{User: user, After: after})
		return p.Users, p.Next, err
	}, "")
}

// ImportUsers creates accounts from at most MaxRecords records.
func (c *Client) ImportUsers(ctx context.Context, records []Record) (ImportResult, error) {
	return imported(records)(call[ImportResult](ctx, c, "user", "import", ImportUsers{Users: records}))
}

// TryImportUsers returns the result that ImportUsers would have. It changes nothing.
func (c *Client) TryImportUsers(ctx context.Context, records []Record) (ImportResult, error) {
	return imported(records)(call[ImportResult](ctx, c, "user", "import", ImportUsers{records, true}))
}

// TryImportFriends returns the result that ImportFriends would have. It changes nothing. A user that does not exist is no
// failure: the result has those of its friends that do not exist either.
func (c *Client) TryImportFriends(ctx context.Context, records []Record) (ImportResult, error) {
	return imported(records)(call[ImportResult](ctx, c, "friend", "import", ImportUsers{records, true}))
}

// ImportFriends restores the friendships and requests of existing users from at most MaxRecords records.
func (c *Client) ImportFriends(ctx context.Context, records []Record) (ImportResult, error) {
	return imported(records)(call[ImportResult](ctx, c, "friend", "import", ImportUsers{Users: records}))
}

// imported returns an error if an answer does not have one result per record.
func imported(records []Record) func(ImportResult, error) (ImportResult, error) {
	return func(r ImportResult, err error) (ImportResult, error) {
		if err == nil && len(r.Results) != len(records) {
			err = fmt.Errorf("admin: import: %d results for %d records", len(r.Results), len(records))
		}
		return r, err
	}
}

// URL returns the URL of the NATS server that the client is connected to, or "" for a server in this process, or by the
// socket of its data directory.
func (c *Client) URL() string {
	if c.nc.Opts.InProcessServer != nil { // its URL is the library's default
		return ""
	}
	return c.nc.ConnectedUrl()
}

// MaxRequest returns the maximum size of a request in bytes.
func (c *Client) MaxRequest() int { return int(c.nc.MaxPayload()) }

// Ping returns nil if the service answers.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.ListUsers(ctx, ListUsers{Limit: 1})
	var answer *Error
	if errors.As(err, &answer) && answer.Code == Restoring {
		return nil
	}
	return err
}

// callTimeout limits the wait for a service that does not answer. It exceeds Options.Timeout of the service.
const callTimeout = time.Minute

func call[Answer any](ctx context.Context, c *Client, noun, verb string, request any) (answer Answer, err error) {
	data, err := encode(request)
	if err != nil {
		return answer, fmt.Errorf("admin: %s %s: %w", noun, verb, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	msg, err := c.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject.Prefix(c.prefix).Admin(noun, verb), Data: data,
		Header: nats.Header{actorHeader: {c.name}}})
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
		return answer, fmt.Errorf("admin: %s %s: parse the answer: %w", noun, verb, err)
	}
	return answer, nil
}
