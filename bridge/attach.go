package bridge

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"imctl/kv"
)

// NATSContext is what a NATS client needs to log in, as the file that the nats tool reads has it
// (https://github.com/nats-io/jsm.go, package natscontext).
type NATSContext struct {
	Description string `json:"description"`
	URL         string `json:"url"`
	User        string `json:"user"`
	Password    string `json:"password"`
	InboxPrefix string `json:"inbox_prefix,omitempty"`
}

// AttachAdd makes an attachment, and for a consumer the durable pull consumer of that name on the log, with the part of
// the log that the filter names: "dialogue.>", or all of it for "". The context holds the secret, which nobody can read
// again.
//
// Errors: kv.ErrAttachmentExists, kv.ErrAttachmentInvalid.
func (s *Service) AttachAdd(ctx context.Context, name string, role kv.Role, filter string) (kv.Attachment, NATSContext, error) {
	if err := s.checkAttachment(name, role, &filter); err != nil {
		return kv.Attachment{}, NATSContext{}, err
	}
	add := s.kv.Attachments.Add
	if role == kv.RoleConsumer {
		add = s.kv.Attachments.Prepare
	}
	a, secret, err := add(ctx, kv.Attachment{Name: name, Role: role, Filter: filter})
	if err == nil && role == kv.RoleConsumer {
		err = s.attachConsumer(ctx, a)
	}
	if err != nil {
		return kv.Attachment{}, NATSContext{}, err
	}
	return a, s.contextOf(a, secret), nil
}

// AttachList returns all attachments by name.
func (s *Service) AttachList(ctx context.Context) ([]kv.Attachment, error) {
	return s.kv.Attachments.List(ctx)
}

// AttachRotate gives the attachment another secret; connections by the old one are closed.
//
// Errors: kv.ErrAttachmentNotFound.
func (s *Service) AttachRotate(ctx context.Context, name string) (kv.Attachment, NATSContext, error) {
	a, secret, err := s.kv.Attachments.Rotate(ctx, name)
	if err != nil {
		return kv.Attachment{}, NATSContext{}, err
	}
	return a, s.contextOf(a, secret), s.detach(ctx, a)
}

// AttachRemove removes an attachment with its consumer, and closes its connections. One that was cut off halfway lets
// nobody in any more; asking again completes it.
//
// Errors: kv.ErrAttachmentNotFound.
func (s *Service) AttachRemove(ctx context.Context, name string) error {
	a, err := s.kv.Attachments.Revoke(ctx, name)
	if err != nil {
		return err
	}
	if err := s.detach(ctx, a); err != nil {
		return err
	}
	if a.Role == kv.RoleConsumer {
		if err := s.removeConsumer(ctx, name); err != nil {
			return err
		}
	}
	return s.kv.Attachments.Remove(ctx, name)
}

// checkAttachment says what is wrong with an attachment that somebody asks for, and sets what was left out.
func (s *Service) checkAttachment(name string, role kv.Role, filter *string) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", kv.ErrAttachmentInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case slices.Contains(s.o.Access.Reserved, name):
		return invalid("the name %s is taken by the server itself", name)
	case !slices.Contains([]kv.Role{kv.RoleConsumer, kv.RoleBridge, kv.RoleAdmin}, role):
		return invalid("a role is %s, %s or %s", kv.RoleConsumer, kv.RoleBridge, kv.RoleAdmin)
	case role != kv.RoleConsumer && *filter != "":
		return invalid("only a %s has a filter", kv.RoleConsumer)
	case role != kv.RoleConsumer:
		return nil
	case *filter == "":
		*filter = ">"
	case !validFilter(*filter):
		return invalid(filterMeans)
	}
	return nil
}

// filterMeans says what a filter looks like.
const filterMeans = "a filter is words joined by dots, where * stands for any word and > at the end for all that follow"

// validFilter tells whether a filter can stand behind the log's prefix.
func validFilter(filter string) bool {
	words := strings.Split(filter, ".")
	for i, word := range words {
		switch {
		case word == "*", word == ">" && i == len(words)-1:
		case word == "", strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' || r == '*' || r == '>' }):
			return false
		}
	}
	return len(filter) <= 256
}

func (s *Service) contextOf(a kv.Attachment, secret string) NATSContext {
	c := NATSContext{Description: fmt.Sprintf("imctl: %s %s", a.Role, a.Name), URL: s.o.Access.URL, User: a.Name, Password: secret}
	if a.Role == kv.RoleConsumer {
		c.InboxPrefix = InboxPrefix(a.Name)
	}
	return c
}

// detach closes the connections of an attachment.
func (s *Service) detach(ctx context.Context, a kv.Attachment) error {
	return s.kick(ctx, attachConnName(a.Name))
}

// kickUser closes the connections of a user to NATS.
func (s *Service) kickUser(ctx context.Context, id string) error {
	return s.kick(ctx, userConnName(id))
}

// kick closes the connections of that name. A node without a system account leaves it to those that have one.
func (s *Service) kick(ctx context.Context, name string) error {
	if s.o.System != nil {
		return s.kickHere(ctx, name)
	}
	_, err := s.nodes.tell(ctx, command{Op: opKick, Name: name})
	return err
}

func (s *Service) kickHere(ctx context.Context, name string) error {
	if s.o.System == nil {
		return nil
	}
	k := &kicker{s.o.System, s.log}
	for _, account := range []string{s.o.Access.Account, s.o.Access.ConsumerAccount} {
		if err := k.user(ctx, account, name); err != nil {
			return err
		}
	}
	return nil
}
