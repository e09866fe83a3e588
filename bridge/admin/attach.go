package admin

import (
	"context"

	"imctl/bridge/natsauth"
	"imctl/kv"
)

// AddAttachment asks for a program to be let in to NATS.
type AddAttachment struct {
	Name   string  `json:"name"`
	Role   kv.Role `json:"role"`
	Filter string  `json:"filter,omitempty"` // of a consumer: the part of the log, without its prefix; "" for all
}

// Attachments are all of them, by name.
type Attachments struct {
	Attachments []kv.Attachment `json:"attachments"`
}

// AttachmentRef names an attachment.
type AttachmentRef struct {
	Name string `json:"name"`
}

// AttachmentSecret is an attachment with what its program needs to log in. Nobody can read the secret again.
type AttachmentSecret struct {
	kv.Attachment
	Context natsauth.Context `json:"context"`
}

func (s *Service) attachEndpoints() []endpoint {
	const (
		attachment = `{"name", "role", "filter", "created"}`
		secret     = `the same, and "context": what a NATS client needs, {"description", "url", "user", "password", "inbox_prefix"}`
	)
	return []endpoint{
		{"attach", "add", "Let a program in to NATS; a consumer gets its durable consumer on the log",
			`{"name", "role": consumer, bridge or admin, "filter": of a consumer, the part of the log}`, attachment + "; " + secret,
			"already_exists, invalid, failed", handler(func(ctx context.Context, r AddAttachment) (a AttachmentSecret, err error) {
				a.Attachment, a.Context, err = s.o.Attachments.Add(ctx, r.Name, r.Role, r.Filter)
				return a, err
			})},
		{"attach", "list", "All programs that may log in to NATS", `{}`, `{"attachments": [` + attachment + `]}`,
			"failed", handler(func(ctx context.Context, _ struct{}) (Attachments, error) {
				all, err := s.o.Attachments.List(ctx)
				if all == nil {
					all = []kv.Attachment{}
				}
				return Attachments{all}, err
			})},
		{"attach", "rotate", "Give an attachment another secret; its connections are closed",
			`{"name"}`, attachment + "; " + secret,
			"not_found, failed", handler(func(ctx context.Context, r AttachmentRef) (a AttachmentSecret, err error) {
				a.Attachment, a.Context, err = s.o.Attachments.Rotate(ctx, r.Name)
				return a, err
			})},
		{"attach", "remove", "Remove an attachment with its consumer; its connections are closed",
			`{"name"}`, attachment,
			"not_found, failed", handler(func(ctx context.Context, r AttachmentRef) (kv.Attachment, error) {
				a, err := s.o.Store.Attachments.Get(ctx, r.Name)
				if err != nil {
					return a, err
				}
				return a, s.o.Attachments.Remove(ctx, r.Name)
			})},
	}
}
