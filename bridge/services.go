package bridge

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go"

	"imctl/bridge/cluster"
	"imctl/bridge/delivery"
	"imctl/bridge/im"
	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/bridge/webhook"
	"imctl/kv"
)

// Services are what administrators act on. A Bridge has them, and a command has them where no server runs.
type Services struct {
	Cluster      *cluster.Cluster
	Accounts     *im.Accounts
	Friends      *im.Friends
	Attachments  *natsauth.Attachments
	Webhooks     *webhook.Webhooks
	disconnector *natsauth.Disconnector
	log          *slog.Logger
}

// ServicesOptions configure Services.
type ServicesOptions struct {
	Prefix   string
	Store    *kv.Store
	Hasher   *kv.Hasher
	EventLog im.Log
	Access   natsauth.Access
	System   *nats.Conn // to NATS's system account; nil: none
	Presence im.Presence
	Notices  im.Notices
	Log      *slog.Logger

	Conversations im.Conversations // nil: they are not kept
	Push          im.Push          // nil: no messages to devices

	Webhooks webhook.Settings
	Hooks    im.Hooks // nil: no moderators are asked
}

// NewServices returns services that talk to nodes over nc.
func NewServices(nc *nats.Conn, o ServicesOptions) (*Services, error) {
	prefix := subject.Prefix(o.Prefix)
	s := &Services{Cluster: cluster.New(nc, o.Store.Nodes, prefix, o.Log), log: o.Log}
	s.disconnector = natsauth.NewDisconnector(prefix, o.System, o.Access, s.Cluster, o.Log)
	deps := im.Deps{Store: o.Store, Hasher: o.Hasher, Cluster: s.Cluster, Log: o.EventLog, Presence: o.Presence, Notices: o.Notices,
		Disconnector: s.disconnector, Logger: o.Log, Conversations: o.Conversations, Push: o.Push, Hooks: o.Hooks}
	s.Friends = im.NewFriends(deps)
	s.Accounts = im.NewAccounts(deps, s.Friends)
	var err error
	s.Attachments, err = natsauth.NewAttachments(nc, prefix, o.Store, s.Cluster, s.disconnector, o.Access, o.Log)
	if err != nil {
		return nil, err
	}
	s.Webhooks, err = webhook.NewWebhooks(nc, prefix, o.Store, s.Cluster, o.Webhooks, o.Log)
	return s, err
}

// NewLocalServices returns services for a process that serves no users. Call close after use.
func NewLocalServices(nc *nats.Conn, o ServicesOptions) (s *Services, close func() error, err error) {
	prober, err := delivery.NewProber(nc, subject.Prefix(o.Prefix))
	if err != nil {
		return nil, nil, err
	}
	o.Presence, o.Notices = prober, delivery.NewNotices(nc, subject.Prefix(o.Prefix))
	if s, err = NewServices(nc, o); err != nil {
		return nil, nil, errors.Join(err, prober.Close())
	}
	return s, func() error { s.Accounts.Close(); return prober.Close() }, nil
}

// Repair completes the changes that a process left unfinished when it ended, and logs one line if there were any.
func (s *Services) Repair(ctx context.Context) error {
	done, err := s.Accounts.Repair(ctx)
	if err != nil {
		return err
	}
	attachments, err := s.Attachments.Repair(ctx)
	if err != nil {
		return err
	}
	if err := s.Attachments.ExpectConsumers(ctx); err != nil {
		return err
	}
	webhooks, err := s.Webhooks.Repair(ctx)
	if err != nil {
		return err
	}
	if done != (kv.Completed{}) || attachments > 0 || webhooks > 0 {
		s.log.Info("repaired after an unclean stop", "users", done.Users, "names", done.Names, "attachments", attachments, "webhooks", webhooks)
	}
	return nil
}
