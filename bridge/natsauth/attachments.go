package natsauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"imctl/bridge/eventlog"
	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/kv"
)

// Cluster tells all nodes that a consumer of the event log was created, or that gateways or moderators have changed.
// cluster.Cluster is one.
type Cluster interface {
	ConsumerAttached(ctx context.Context) error
	GatewayChanged(ctx context.Context, name string) error
	ModeratorChanged(ctx context.Context, name string, removed bool) error
}

// Attachments are the programs that may connect to NATS, each with a role. An attachment of role consumer has a durable
// consumer of the same name on the event log.
type Attachments struct {
	prefix       subject.Prefix
	store        *kv.Store
	consumers    *eventlog.Consumers
	cluster      Cluster
	disconnector *Disconnector
	access       Access
	log          *slog.Logger
	tending      tending
}

// NewAttachments returns the attachments in the store. nc is used for consumers of the event log.
func NewAttachments(nc *nats.Conn, prefix subject.Prefix, store *kv.Store, c Cluster, d *Disconnector, access Access, log *slog.Logger) (*Attachments, error) {
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return nil, err
	}
	return &Attachments{prefix: prefix, store: store, consumers: eventlog.NewConsumers(js, prefix), cluster: c, disconnector: d, access: access, log: log}, nil
}

// Add creates an attachment and, for a consumer, its consumer on the part of the event log that the filters select:
// "dialogue.>". No filter, or "", selects all entries. The context holds the secret, which cannot be read again.
//
// Errors: kv.ErrAttachmentExists, kv.ErrAttachmentInvalid, kv.ErrReadOnly, and ErrNoClients if the program could not log
// in: then there is no attachment.
func (as *Attachments) Add(ctx context.Context, name string, role kv.Role, filters ...string) (kv.Attachment, Context, error) {
	return as.AddAs(ctx, kv.Attachment{Name: name, Role: role}, filters...)
}

// AddAs is Add for an attachment that has further properties: User and Befriends of a service, Accounts and MaxUsers of
// a gateway.
func (as *Attachments) AddAs(ctx context.Context, a kv.Attachment, filters ...string) (kv.Attachment, Context, error) {
	filters, err := as.check(a.Name, a.Role, filters)
	if err == nil {
		err = as.checkService(a)
	}
	if err == nil {
		err = checkGateway(a)
	}
	if err == nil {
		err = as.mayLogIn(a.Role)
	}
	if err != nil {
		return kv.Attachment{}, Context{}, err
	}
	add := as.store.Attachments.Add
	if a.Role.HasConsumer() {
		add = as.store.Attachments.Prepare
	}
	a, secret, err := add(ctx, a.WithFilters(filters))
	if err == nil && a.Role.HasConsumer() {
		err = as.attach(ctx, a)
	}
	if err == nil {
		if err = as.announce(ctx, a, false); err != nil {
			err = errors.Join(err, as.Remove(ctx, a.Name))
		}
	}
	if err == nil {
		err = as.try(ctx, a.Name, secret)
	}
	if err != nil {
		return kv.Attachment{}, Context{}, err
	}
	return a, as.contextOf(a, secret), nil
}

// mayLogIn returns an error if programs with this role cannot log in.
func (as *Attachments) mayLogIn(role kv.Role) error {
	switch {
	case as.access.NoClients != "" && as.access.Try == nil:
		return fmt.Errorf("%w: %s", ErrNoClients, as.access.NoClients)
	case role.HasConsumer() && as.access.ConsumerAccount == "" && as.access.NoClients == "":
		return fmt.Errorf("%w with the role %s: nats.callout.log_account is not set", ErrNoClients, role)
	}
	return nil
}

// try logs in with the credentials of a new attachment, and removes it if NATS refuses them. Another node may let NATS
// clients log in if this one does not, and NATS may not ask any node.
func (as *Attachments) try(ctx context.Context, name, secret string) error {
	if as.access.Try == nil {
		return nil
	}
	err := as.access.Try(name, secret)
	if !errors.Is(err, ErrNoClients) {
		if err != nil {
			as.log.Warn("the login of a new attachment was not tested", "attachment", name, "err", err)
		}
		return nil
	}
	if as.access.NoClients != "" {
		err = fmt.Errorf("%w: %s", ErrNoClients, as.access.NoClients)
	}
	return errors.Join(err, as.Remove(ctx, name))
}

// Unanswered reports whether the calls of a new reader get no answer: NATS does not pass them from the account of
// consumers to that of the server.
func (as *Attachments) Unanswered(a kv.Attachment, c Context) bool {
	if a.Role != kv.RoleReader || as.access.Ask == nil {
		return false
	}
	err := as.access.Ask(c.User, c.Password, c.InboxPrefix, as.prefix.Read(a.Name, "user"), `{"id":"`+kv.NewID()+`"}`)
	if err != nil {
		as.log.Warn("the calls of a reader are not answered: add the output of imctl nats config to the configuration of the NATS server", "attachment", a.Name, "err", err)
	}
	return err != nil
}

// List returns all attachments by name.
func (as *Attachments) List(ctx context.Context) ([]kv.Attachment, error) {
	return as.store.Attachments.List(ctx)
}

// Rotate gives the attachment a new secret, and closes its connections.
//
// Errors: kv.ErrAttachmentNotFound, kv.ErrReadOnly.
func (as *Attachments) Rotate(ctx context.Context, name string) (kv.Attachment, Context, error) {
	a, secret, err := as.store.Attachments.Rotate(ctx, name)
	if err != nil {
		return kv.Attachment{}, Context{}, err
	}
	return a, as.contextOf(a, secret), as.disconnector.Disconnect(ctx, connOf(as.prefix, a))
}

// Remove removes an attachment with its consumer, and closes its connections. A removal that is cut off revokes the
// secret all the same, and another call completes it.
//
// Errors: kv.ErrAttachmentNotFound, kv.ErrReadOnly.
func (as *Attachments) Remove(ctx context.Context, name string) error {
	a, err := as.store.Attachments.Revoke(ctx, name)
	if err != nil {
		return err
	}
	if err := as.disconnector.Disconnect(ctx, connOf(as.prefix, a)); err != nil {
		return err
	}
	if a.Role.HasConsumer() {
		if err := as.removeConsumer(ctx, name); err != nil {
			return err
		}
	}
	if err := as.store.Attachments.Remove(ctx, name); err != nil {
		return err
	}
	return as.announce(ctx, a, true)
}

// announce tells all nodes that an attachment was added or removed, if they keep something about its role.
func (as *Attachments) announce(ctx context.Context, a kv.Attachment, removed bool) error {
	switch a.Role {
	case kv.RoleGateway:
		return as.cluster.GatewayChanged(ctx, a.Name)
	case kv.RoleModerator:
		return as.cluster.ModeratorChanged(ctx, a.Name, removed)
	}
	return nil
}

// Moderators returns the names of the attachments with the role moderator.
func (as *Attachments) Moderators(ctx context.Context) (names []string, err error) {
	all, err := as.List(ctx)
	for _, a := range all {
		if a.Role == kv.RoleModerator {
			names = append(names, a.Name)
		}
	}
	return names, err
}

// Repair removes attachments whose creation or removal a process left unfinished when it ended, and returns how many.
func (as *Attachments) Repair(ctx context.Context) (int, error) {
	unfinished, err := as.store.Attachments.Unfinished(ctx)
	if err != nil {
		return 0, err
	}
	for _, a := range unfinished {
		if err := as.Remove(ctx, a.Name); err != nil && !errors.Is(err, kv.ErrAttachmentNotFound) {
			return 0, err
		}
	}
	return len(unfinished), nil
}

// check returns the filters with their default, or an error if the attachment must not be created.
func (as *Attachments) check(name string, role kv.Role, filters []string) ([]string, error) {
	invalid := func(format string, args ...any) ([]string, error) {
		return nil, fmt.Errorf("%w: %s", kv.ErrAttachmentInvalid, fmt.Sprintf(format, args...))
	}
	filters = slices.DeleteFunc(slices.Clone(filters), func(f string) bool { return f == "" })
	switch {
	case slices.Contains(as.access.Reserved, name):
		return invalid("the name %s is reserved for the server", name)
	case mistakable(as.prefix, name):
		return invalid("the name %s could stand for a number, a user, a call or a stream: use another one", name)
	case !slices.Contains(kv.Roles, role):
		return invalid("the role must be one of %s", strings.Join(kv.RoleNames(), ", "))
	case !role.HasConsumer() && len(filters) > 0:
		return invalid("the role %s has no filter", role)
	case !role.HasConsumer():
		return nil, nil
	case len(filters) == 0 && role == kv.RoleReader:
		return slices.Clone(readerFilters), nil
	case len(filters) == 0:
		return []string{">"}, nil
	}
	for i, filter := range filters {
		if _, err := checkFilter(filter); err != nil {
			return nil, err
		}
		if role == kv.RoleReader && !slices.ContainsFunc(readerFilters, func(f string) bool { return subject.Includes(f, filter) }) {
			return invalid("the role %s reads %s, and not %s", role, strings.Join(readerFilters, ", "), filter)
		}
		for k, other := range filters {
			if i != k && subject.Includes(filter, other) {
				return invalid("the filter %s includes %s, which NATS refuses: leave out %[2]s", filter, other)
			}
		}
	}
	return filters, nil
}

// readerFilters are the parts of the log that a reader may follow. None has a dialogue, a report or a session.
var readerFilters = []string{"user.>", "friend.>", "presence.>"}

// checkService returns an error if a service has no user, or another role has what only a service may have.
func (as *Attachments) checkService(a kv.Attachment) error {
	switch {
	case a.Role != kv.RoleService && (a.User != "" || a.Befriends):
		return fmt.Errorf("%w: only the role %s has a user", kv.ErrAttachmentInvalid, kv.RoleService)
	case a.Role == kv.RoleService && !kv.ValidID(a.User):
		return fmt.Errorf("%w: the role %s needs a user", kv.ErrAttachmentInvalid, kv.RoleService)
	}
	return nil
}

// mistakable reports whether a name could be taken for another word of a subject: a number, the id of a user, which
// shares the inbox of that name, a call, or a stream.
func mistakable(p subject.Prefix, name string) bool {
	number := name != "" && strings.Trim(name, "0123456789") == ""
	return number || kv.ValidID(name) || subject.IsReadWord(name) || slices.Contains([]string{p.LogStream(), p.LogRestoreStream(), p.TalkStream(), p.FileStream(), p.WebhookStream()}, name)
}

// checkFilter returns the filter, with ">" for "".
func checkFilter(filter string) (string, error) {
	if filter == "" {
		return ">", nil
	}
	if !subject.ValidFilter(filter) {
		return "", fmt.Errorf("%w: a filter is words joined by dots, where * stands for any word and > at the end for all words that follow", kv.ErrAttachmentInvalid)
	}
	return filter, nil
}

// ClientCert reports whether the NATS server may require a client certificate, which the contexts do not have.
func (as *Attachments) ClientCert() bool { return as.access.ClientCert }

func (as *Attachments) contextOf(a kv.Attachment, secret string) Context {
	c := Context{Description: fmt.Sprintf("imctl: %s %s", a.Role, a.Name), URL: as.access.URL, User: a.Name, Password: secret, CA: as.access.CA, Domain: as.access.Domain}
	if as.access.ClientCert {
		c.Description += "; the server may require a client certificate: set cert and key"
	}
	if !a.Role.IsTrusted() || as.access.Shared {
		c.InboxPrefix = as.prefix.AttachmentInbox(a.Name)
	}
	if a.Role == kv.RoleService {
		c.InboxPrefix = subject.Inbox(a.User)
	}
	return c
}
