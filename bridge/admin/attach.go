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
		attachment = `{"name", "role", "filter", "created", "filters": if there are several, "seen", "detached": {"since", "entries", "resumed"}}`
		lag        = `each with "consumer": {"name", "pending", "unacked", "waiting", "oldest", "seen"}`
		secret     = `and "context": the NATS context, {"description", "url", "user", "password", "inbox_prefix", "ca", "jetstream_domain"}`
	)
	return []endpoint{
		{"attach", "add", "Add a program that may log in to NATS. For the role consumer, this creates a durable consumer of the log",
			`{"name", "role": ` + strings.Join(kv.RoleNames(), ", ") + `, "filter": for a consumer, the part of the log, "filters": further parts}`, attachment + ", " + secret,
			"already_exists, invalid, failed", handler(func(ctx context.Context, r AddAttachment) (a AttachmentSecret, err error) {
				a.Attachment, a.Context, err = s.o.Attachments.Add(ctx, r.Name, r.Role, append([]string{r.Filter}, r.Filters...)...)
				a.ClientCert = s.o.Attachments.ClientCert()
				return a, err
			})},
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
