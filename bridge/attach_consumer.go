package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// Each attachment of role consumer has a durable pull consumer of the same name on the log.

// attachConsumer makes the consumer of a pending attachment and confirms it, or removes both.
func (s *Service) attachConsumer(ctx context.Context, a kv.Attachment) error {
	if err := s.makeConsumer(ctx, a); err != nil {
		return errors.Join(err, s.kv.Attachments.Remove(ctx, a.Name))
	}
	err := s.LogAttached(ctx)
	if err == nil {
		err = s.kv.Attachments.Confirm(ctx, a.Name)
	}
	if err != nil {
		return errors.Join(err, s.AttachRemove(ctx, a.Name))
	}
	return nil
}

// makeConsumer makes the consumer of an attachment and notes that it must exist. From now on the log keeps all entries
// for the consumer until the consumer acknowledges them or is removed.
func (s *Service) makeConsumer(ctx context.Context, a kv.Attachment) error {
	js, err := jetstream.New(s.nc)
	if err != nil {
		return err
	}
	if err := makeConsumer(ctx, js, s.o.Prefix, a); err != nil {
		return err
	}
	_, err = s.kv.States.Expect(ctx, consumerMark(s.o.Prefix, a.Name))
	return err
}

// consumerMark returns the name under which the state notes that an attachment's consumer must exist.
func consumerMark(prefix, name string) string { return logStreamName(prefix) + "/" + name }

// removeConsumer removes the consumer of an attachment. It keeps a consumer of that name that belongs to another program.
func (s *Service) removeConsumer(ctx context.Context, name string) error {
	if err := s.kv.States.Forget(ctx, consumerMark(s.o.Prefix, name)); err != nil {
		return err
	}
	js, err := jetstream.New(s.nc)
	if err != nil {
		return err
	}
	c, err := js.Consumer(ctx, logStreamName(s.o.Prefix), name)
	if err == nil && c.CachedInfo().Config.Description == consumerDescription {
		err = js.DeleteConsumer(ctx, logStreamName(s.o.Prefix), name)
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("remove consumer %s: %w", name, err)
	}
	return nil
}

// expectConsumers notes for every attachment of role consumer that its consumer must exist. If the consumer is missing and
// there is no note, because its loss was accepted or a restore replaced the log, expectConsumers makes it anew.
func (s *Service) expectConsumers(ctx context.Context) error {
	all, err := s.kv.Attachments.List(ctx)
	if err != nil {
		return err
	}
	state, err := s.kv.States.Get(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		mark := consumerMark(s.o.Prefix, a.Name)
		if _, noted := state.Streams[mark]; noted || a.Role != kv.RoleConsumer {
			continue
		}
		_, err := s.kv.States.Expect(ctx, mark)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			s.log.Warn("the consumer of an attachment is missing: making it anew, for events from now on", "attachment", a.Name)
			err = s.makeConsumer(ctx, a)
		}
		if err != nil {
			return err
		}
		// Another node may be removing the attachment at the same time and have removed the note already.
		good, err := s.kv.Attachments.Active(ctx, a.Name)
		if err == nil && !good {
			err = s.kv.States.Forget(ctx, mark)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// consumerDescription marks the consumers that belong to attachments.
const consumerDescription = "attachment of imctl"

func makeConsumer(ctx context.Context, js jetstream.JetStream, prefix string, a kv.Attachment) error {
	_, err := js.CreateConsumer(ctx, logStreamName(prefix), jetstream.ConsumerConfig{
		Durable:       a.Name,
		Description:   consumerDescription,
		DeliverPolicy: jetstream.DeliverNewPolicy, // older entries are kept for other consumers only, and not all of them
		AckPolicy:     jetstream.AckExplicitPolicy,
		FilterSubject: prefix + ".log." + a.Filter,
	})
	if errors.Is(err, jetstream.ErrConsumerExists) {
		return fmt.Errorf("%w: the log has a consumer %s already that belongs to no attachment", kv.ErrAttachmentInvalid, a.Name)
	}
	if err != nil {
		return fmt.Errorf("make consumer %s: %w", a.Name, err)
	}
	return nil
}

// ReconcileConsumers makes the consumers of the log fit the attachments. A backup takes the streams one after the other.
// So it may have an attachment without its consumer, or a consumer without its attachment, for which the log would keep
// entries for ever.
func ReconcileConsumers(ctx context.Context, nc *nats.Conn, store *kv.Store, prefix string) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	all, err := store.Attachments.List(ctx)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, logStreamName(prefix))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // without the stream there are no consumers
	}
	if err != nil {
		return err
	}
	wanted := make(map[string]kv.Attachment)
	for _, a := range all {
		if a.Role == kv.RoleConsumer {
			wanted[a.Name] = a
		}
	}
	var orphans []string
	list := stream.ListConsumers(ctx)
	for c := range list.Info() {
		if _, ok := wanted[c.Name]; !ok && c.Config.Description == consumerDescription {
			orphans = append(orphans, c.Name)
		}
		delete(wanted, c.Name)
	}
	if err := list.Err(); err != nil {
		return err
	}
	for _, name := range orphans {
		if err := stream.DeleteConsumer(ctx, name); err != nil {
			return fmt.Errorf("remove consumer %s: %w", name, err)
		}
	}
	for _, a := range wanted {
		if err := makeConsumer(ctx, js, prefix, a); err != nil {
			return err
		}
	}
	return nil
}
