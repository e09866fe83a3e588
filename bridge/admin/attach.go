package admin

import (
	"context"
	"errors"
	"strings"

	"imctl/bridge/natsauth"
	"imctl/kv"
)

// AddAttachment adds a program that may log in to NATS.
type AddAttachment struct {
	Name   string  `json:"name"`
	Role   kv.Role `json:"role"`
	Filter string  `json:"filter,omitempty"` // for a consumer: the part of the log, without its prefix; "" for all
	// Filters are further parts of the log. None may include another.
	Filters []string `json:"filters,omitempty"`

	User      string `json:"user,omitempty"`      // of a service: its account, which is added if it does not exist
	Befriends bool   `json:"befriends,omitempty"` // of a service: it may befriend users by itself
	// Accounts are those that a gateway may register, such as "matrix_*", and MaxUsers is how many; 0: the server's limit.
	Accounts string `json:"accounts,omitempty"`
	MaxUsers int    `json:"max_users,omitempty"`
}

// Attachments are all attachments, ordered by name.
type Attachments struct {
	Attachments []natsauth.Status `json:"attachments"`
}

// AttachmentRef names an attachment.
type AttachmentRef struct {
	Name string `json:"name"`
}

// AttachmentSecret is an attachment with the credentials of its program. The secret cannot be read again.
type AttachmentSecret struct {
	kv.Attachment
	Context natsauth.Context `json:"context"`
	// ClientCert reports that the NATS server may require a client certificate, which the context does not have.
	ClientCert bool `json:"client_cert,omitempty"`
	// Unanswered reports that NATS does not pass the calls of a reader to the server.
	Unanswered bool `json:"unanswered,omitempty"`
}

// named returns err with the name of the attachment, if that does not exist.
func (r AttachmentRef) named(err error) error {
	if errors.Is(err, kv.ErrAttachmentNotFound) {
		return failure(NotFound, "there is no attachment %q", r.Name)
	}
	return err
}

func (s *Service) attachEndpoints() []endpoint {
	const (
		attachment = `{"name", "role", "filter", "created", "filters": if there are several, "accounts" and "max_users": of a gateway, "seen", "detached": {"since", "entries", "resumed"}, "user": id of the user of a service, "befriends"}`
		lag        = `each with "account": of a service, and "consumer": {"name", "pending", "unacked", "waiting", "oldest", "seen"}`
		secret     = `and "context": the NATS context, {"description", "url", "user", "password", "inbox_prefix", "ca", "jetstream_domain"}, "client_cert": true if the NATS server may require one, "unanswered": true if NATS does not pass the calls of a reader to the server`
	)
	return []endpoint{
		{"attach", "add", "Add a program that may log in to NATS. For the role consumer, this creates a durable consumer of the log",
			`{"name", "role": ` + strings.Join(kv.RoleNames(), ", ") + `, "filter": for a consumer, the part of the log, "filters": further parts, "user": for a service, its account, "befriends": true if the service may befriend users by itself, "accounts": for a gateway, those that it may register, "max_users"}`, attachment + ", " + secret,
			"already_exists, invalid, failed", handler(s.addAttachment)},
		{"attach", "list", "List the programs that may log in to NATS", `{}`, `{"attachments": [` + attachment + `]}, ` + lag,
			"failed", handler(func(ctx context.Context, _ struct{}) (Attachments, error) {
				all, err := s.o.Attachments.Statuses(ctx)
				if all == nil {
					all = []natsauth.Status{}
				}
				return Attachments{all}, err
			})},
		{"attach", "rotate", "Give an attachment a new secret, and close its connections",
			`{"name"}`, attachment + ", " + secret,
			"not_found, failed", handler(func(ctx context.Context, r AttachmentRef) (a AttachmentSecret, err error) {
				a.Attachment, a.Context, err = s.o.Attachments.Rotate(ctx, r.Name)
				a.ClientCert = s.o.Attachments.ClientCert()
				return a, r.named(err)
			})},
		{"attach", "remove", "Remove an attachment and its consumer, and close its connections",
			`{"name"}`, attachment,
			"not_found, failed", handler(func(ctx context.Context, r AttachmentRef) (kv.Attachment, error) {
				a, err := s.o.Store.Attachments.Get(ctx, r.Name)
				if err != nil {
					return a, r.named(err)
				}
				return a, r.named(s.o.Attachments.Remove(ctx, r.Name))
			})},
		{"attach", "resume", "Give a detached attachment a new consumer, for events from now on",
			`{"name"}`, attachment,
			"not_found, invalid, failed", handler(func(ctx context.Context, r AttachmentRef) (kv.Attachment, error) {
				a, err := s.o.Attachments.Resume(ctx, r.Name)
				return a, r.named(err)
			})},
	}
}

// addAttachment adds an attachment. It adds the account of a service that does not exist, without a password.
func (s *Service) addAttachment(ctx context.Context, r AddAttachment) (a AttachmentSecret, err error) {
	want := kv.Attachment{Name: r.Name, Role: r.Role, Befriends: r.Befriends, Accounts: r.Accounts, MaxUsers: r.MaxUsers}
	added := ""
	if r.User != "" && r.Role == kv.RoleService {
		u, err := s.resolve(ctx, r.User)
		if errors.Is(err, errNoUser) {
			u, err = s.addServiceUser(ctx, r.User)
			added = u.ID
		}
		if err != nil {
			return a, err
		}
		want.User = u.ID
	} else if r.User != "" || r.Role == kv.RoleService {
		return a, failure(Invalid, "the role %s needs a user, and no other role has one", kv.RoleService)
	}
	a.Attachment, a.Context, err = s.o.Attachments.AddAs(ctx, want, append([]string{r.Filter}, r.Filters...)...)
	a.ClientCert = s.o.Attachments.ClientCert()
	if err == nil {
		a.Unanswered = s.o.Attachments.Unanswered(a.Attachment, a.Context)
	}
	if err != nil && added != "" {
		err = errors.Join(err, s.o.Accounts.Delete(context.WithoutCancel(ctx), added))
	}
	return a, err
}

// addServiceUser adds an account without a password.
func (s *Service) addServiceUser(ctx context.Context, account string) (kv.User, error) {
	u := kv.User{Account: account}
	if err := normalizeUser(&u); err != nil {
		return u, err
	}
	added, err := s.o.Accounts.RegisterOwned(ctx, u)
	if errors.Is(err, kv.ErrAccountLooksAlike) {
		err = failure(AlreadyExists, "account %q looks like an existing account: choose another one", u.Account)
	}
	return added, err
}
