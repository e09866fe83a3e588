package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

// Consumers creates and removes consumers of the log. Each attachment of role consumer has a durable pull consumer of
// the same name, and each webhook has one of the name subject.WebhookConsumer.
type Consumers struct {
	js    jetstream.JetStream
	names subject.Prefix
}

// NewConsumers returns the consumers of the log with that prefix.
func NewConsumers(js jetstream.JetStream, prefix subject.Prefix) *Consumers {
	return &Consumers{js: js, names: prefix}
}

// ErrConsumerTaken: the log has a consumer of that name that belongs to no attachment.
var ErrConsumerTaken = errors.New("the log already has a consumer of that name that belongs to no attachment")

// The descriptions mark the consumers that belong to attachments and to webhooks.
const (
	consumerDescription = "attachment of imctl"
	webhookDescription  = "webhook of imctl"
)

const (
	// pinnedFor is how long the node that reads the consumer of a webhook may be silent before another node takes over.
	pinnedFor = 30 * time.Second
	// webhookAckWait is how long an entry may be with such a node. It is over when another node takes over, which then
	// gets the entries that a killed node had before later ones.
	webhookAckWait = 15 * time.Second
)

// WebhookGroup is the group of the nodes that read the consumer of a webhook. NATS delivers to one of them at a time.
const WebhookGroup = "imctl"

// isOurs reports whether a consumer belongs to an attachment or a webhook.
func isOurs(c jetstream.ConsumerConfig) bool {
	return c.Description == consumerDescription || c.Description == webhookDescription
}

// Mark returns the name under which the state notes that a consumer must exist.
func (c *Consumers) Mark(name string) string { return c.names.LogStream() + "/" + name }

// Create creates the consumer of an attachment, for the entries that one of the filters selects. From now on the log
// keeps these entries until the consumer acknowledges them or is removed.
//
// Errors: ErrConsumerTaken.
func (c *Consumers) Create(ctx context.Context, name string, filters ...string) error {
	config := jetstream.ConsumerConfig{
		Durable:       name,
		Description:   consumerDescription,
		DeliverPolicy: jetstream.DeliverNewPolicy, // older entries are kept for other consumers only, and not all of them
		AckPolicy:     jetstream.AckExplicitPolicy,
	}
	if subject.IsWebhookConsumer(name) {
		config.Description = webhookDescription
		config.AckWait = webhookAckWait
		config.PriorityPolicy, config.PriorityGroups, config.PinnedTTL = jetstream.PriorityPolicyPinned, []string{WebhookGroup}, pinnedFor
	}
	for _, filter := range filters {
		config.FilterSubjects = append(config.FilterSubjects, c.names.Log(filter))
	}
	if len(filters) == 1 { // older programs look for the only filter here
		config.FilterSubject, config.FilterSubjects = config.FilterSubjects[0], nil
	}
	_, err := c.js.CreateConsumer(ctx, c.names.LogStream(), config)
	if errors.Is(err, jetstream.ErrConsumerExists) {
		return fmt.Errorf("%w: %s", ErrConsumerTaken, name)
	}
	if err != nil {
		return fmt.Errorf("create consumer %s: %w", name, err)
	}
	return nil
}

// Remove removes the consumer of an attachment. It keeps a consumer of that name that belongs to another program.
func (c *Consumers) Remove(ctx context.Context, name string) error {
	found, err := c.js.Consumer(ctx, c.names.LogStream(), name)
	if err == nil && isOurs(found.CachedInfo().Config) {
		err = c.js.DeleteConsumer(ctx, c.names.LogStream(), name)
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("remove consumer %s: %w", name, err)
	}
	return nil
}

// Usage reads how far the consumers are behind. It is zero for a log without a stream.
func (c *Consumers) Usage(ctx context.Context) (Usage, error) {
	u, err := NewReader(c.js, c.names).Read(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Usage{}, nil
	}
	return u, err
}

// Reconcile removes the consumers of attachments and webhooks that are not in wanted, and creates the missing ones. wanted maps
// names to filters. A log without a stream has no consumers, and Reconcile leaves it alone.
func (c *Consumers) Reconcile(ctx context.Context, wanted map[string][]string) error {
	stream, err := c.js.Stream(ctx, c.names.LogStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	exists := make(map[string]bool)
	var orphans []string
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		exists[info.Name] = true
		if _, ok := wanted[info.Name]; !ok && isOurs(info.Config) {
			orphans = append(orphans, info.Name)
		}
	}
	if err := list.Err(); err != nil {
		return err
	}
	for _, name := range orphans {
		if err := stream.DeleteConsumer(ctx, name); err != nil {
			return fmt.Errorf("remove consumer %s: %w", name, err)
		}
	}
	for name, filters := range wanted {
		if exists[name] {
			continue
		}
		if err := c.Create(ctx, name, filters...); err != nil {
			return err
		}
	}
	return nil
}

// followerTimeout is how long the consumer of a follower outlives its last request.
const followerTimeout = 10 * time.Second

// Follow creates a consumer for a client that watches the log. The consumer begins with the next entry, needs no
// acknowledgements, and expires when the client stops asking for entries. Follow returns the names of stream and
// consumer.
func (c *Consumers) Follow(ctx context.Context, filter string) (stream, consumer string, err error) {
	stream = c.names.LogStream()
	made, err := c.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Description:       "follower of the event log",
		DeliverPolicy:     jetstream.DeliverNewPolicy,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		InactiveThreshold: followerTimeout,
		FilterSubject:     c.names.Log(filter),
	})
	if err != nil {
		return "", "", fmt.Errorf("follow the event log: %w", err)
	}
	return stream, made.CachedInfo().Name, nil
}
