package natsauth

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/eventlog"
	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/kv"
)

// attach creates the consumer of a pending attachment and confirms the attachment, or removes both.
func (as *Attachments) attach(ctx context.Context, a kv.Attachment) error {
	if err := as.createConsumer(ctx, a); err != nil {
		return errors.Join(err, as.store.Attachments.Remove(ctx, a.Name))
	}
	err := as.cluster.ConsumerAttached(ctx)
	if err == nil {
		err = as.store.Attachments.Confirm(ctx, a.Name)
	}
	if err != nil {
		return errors.Join(err, as.Remove(ctx, a.Name))
	}
	return nil
}

// createConsumer creates the consumer of an attachment and notes in the state that it must exist.
func (as *Attachments) createConsumer(ctx context.Context, a kv.Attachment) error {
	err := as.consumers.Create(ctx, a.Name, a.AllFilters()...)
	if errors.Is(err, eventlog.ErrConsumerTaken) {
		return fmt.Errorf("%w: %w", kv.ErrAttachmentInvalid, err)
	}
	if err == nil {
		_, err = as.store.States.Expect(ctx, as.consumers.Mark(a.Name))
	}
	return err
}

// ExpectConsumers notes in the state for every attachment of role consumer that its consumer must exist, unless the
// attachment is detached. If the consumer is missing and there is no note, because its loss was accepted or a restore
// replaced the log, ExpectConsumers creates it.
func (as *Attachments) ExpectConsumers(ctx context.Context) error {
	all, err := as.store.Attachments.List(ctx)
	if err != nil {
		return err
	}
	state, err := as.store.States.Get(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		mark := as.consumers.Mark(a.Name)
		if _, noted := state.Streams[mark]; noted || !a.Role.HasConsumer() || a.IsDetached() {
			continue
		}
		_, err := as.store.States.Expect(ctx, mark)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			as.log.Warn("the consumer of an attachment is missing: creating it, for events from now on", "attachment", a.Name)
			err = as.createConsumer(ctx, a)
		}
		if err != nil {
			return err
		}
		// Another node may be removing the attachment at the same time and have removed the note already.
		good, err := as.store.Attachments.Active(ctx, a.Name)
		if err == nil && !good {
			err = as.store.States.Forget(ctx, mark)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ReconcileConsumers makes the consumers of the event log match the attachments. A backup reads the streams one after
// the other, so it may have an attachment without its consumer, or a consumer without its attachment, for which the log
// would keep entries forever.
func ReconcileConsumers(ctx context.Context, nc *nats.Conn, store *kv.Store, prefix string) error {
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return err
	}
	all, err := store.Attachments.List(ctx)
	if err != nil {
		return err
	}
	wanted := make(map[string][]string)
	for _, a := range all {
		if a.Role.HasConsumer() && !a.IsDetached() {
			wanted[a.Name] = a.AllFilters()
		}
	}
	return eventlog.NewConsumers(js, subject.Prefix(prefix)).Reconcile(ctx, wanted)
}

// FollowLog creates a consumer for a client that watches the event log, and returns the names of stream and consumer.
// The client sees every dialogue that is sent after FollowLog returns, and answered with 200: meanwhile the answers
// wait for the log. The consumer expires when the client stops asking for entries.
//
// Errors: kv.ErrAttachmentInvalid for an invalid filter.
func (as *Attachments) FollowLog(ctx context.Context, filter string) (stream, consumer string, err error) {
	if filter, err = checkFilter(filter); err != nil {
		return "", "", err
	}
	if stream, consumer, err = as.consumers.Follow(ctx, filter); err != nil {
		return "", "", err
	}
	return stream, consumer, as.cluster.ConsumerAttached(ctx)
}
