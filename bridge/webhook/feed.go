package webhook

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/eventlog"
	"imctl/kv"
)

// errMoved: NATS delivers to another node.
var errMoved = errors.New("another node takes the messages")

// pinHeader is the header of a message with the id of the pin, which NATS gives to the node to which it delivers.
const pinHeader = "Nats-Pin-Id"

// feed reads a consumer of a webhook, to which NATS delivers on one node at a time, in the order of the stream apart
// from repeats.
//
// A node that was killed leaves messages that it had neither acknowledged nor refused. NATS delivers them again only
// after AckWait, and meanwhile delivers later ones to the next node. So the next node holds back the first message that
// was not delivered before, until none of the other node are left or all of them are due. It then refuses that message,
// which NATS queues behind them.
type feed struct {
	c       jetstream.Consumer
	js      jetstream.JetStream
	most    int // messages that are asked for at once
	ackWait time.Duration
	log     *slog.Logger
	// The fields below are used by next and close alone.
	batch    jetstream.MessageBatch // nil: none is open
	endBatch context.CancelFunc
	pin      string    // of this node; "": none yet
	settled  bool      // no messages of another node are left
	until    time.Time // by then all messages of another node are due

	mu   sync.Mutex               // guards held, also while messages are renewed
	held map[uint64]jetstream.Msg // by sequence in the stream: neither acknowledged nor refused
}

func newFeed(js jetstream.JetStream, c jetstream.Consumer, most int, log *slog.Logger) *feed {
	info := c.CachedInfo()
	log = log.With("stream", info.Stream, "consumer", info.Name)
	return &feed{c: c, js: js, most: most, ackWait: info.Config.AckWait, log: log, held: make(map[uint64]jetstream.Msg)}
}

// next returns the next message, or nil if there is none yet. The caller ends each message with settle.
//
// Errors: errMoved, and those of NATS.
func (f *feed) next(ctx context.Context) (jetstream.Msg, error) {
	for {
		m, err := f.read(ctx)
		if m == nil || err != nil {
			return nil, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		if pin := m.Headers().Get(pinHeader); pin != f.pin {
			f.log.Debug("webhook: NATS delivers to this node", "first", meta.Sequence.Stream, "deliveries", meta.NumDelivered)
			f.pin, f.settled, f.until = pin, false, time.Now().Add(f.ackWait+f.ackWait/4)
		}
		if !f.hold(meta.Sequence.Stream, m) {
			continue // this node has it already
		}
		if f.settled || meta.NumDelivered > 1 {
			return m, nil
		}
		left, err := f.wait(ctx)
		if err != nil {
			// The message is not refused: NATS would deliver it before the messages of the other node, and count this
			// delivery.
			return nil, errors.Join(err, f.settle(m, func() error { return nil }))
		}
		f.log.Debug("webhook: taken over", "first", meta.Sequence.Stream, "left", left)
		if f.settled = true; left == 0 {
			return m, nil
		}
		if err := f.settle(m, func() error { return f.refuse(ctx, m) }); err != nil {
			return nil, err
		}
	}
}

// refuse has NATS queue messages to be delivered again, in their order, and waits until it has done so: otherwise it
// may deliver later ones first.
func (f *feed) refuse(ctx context.Context, all ...jetstream.Msg) error {
	if len(all) == 0 {
		return nil
	}
	last := len(all) - 1
	for _, m := range all[:last] {
		if err := m.Nak(); err != nil {
			return err
		}
	}
	_, err := f.js.Conn().RequestWithContext(ctx, all[last].Reply(), []byte("-NAK")) // Nak does not wait
	return err
}

// read returns the next message as NATS delivers it, or nil. Until the feed has settled it asks for one at a time, so
// that no other one waits in this process.
func (f *feed) read(ctx context.Context) (jetstream.Msg, error) {
	if f.batch == nil {
		most := 1
		if f.settled {
			most = f.most
		}
		within, cancel := context.WithTimeout(ctx, fetchWait)
		batch, err := f.c.Fetch(most, jetstream.FetchContext(within), jetstream.FetchPriorityGroup(eventlog.WebhookGroup))
		if err != nil {
			cancel()
			return nil, err
		}
		f.batch, f.endBatch = batch, cancel
	}
	m, open := <-f.batch.Messages()
	if open {
		return m, nil
	}
	err := f.batch.Error()
	f.endBatch()
	f.batch = nil
	switch {
	case ctx.Err() != nil, err == nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return nil, nil
	case errors.Is(err, jetstream.ErrPinIDMismatch):
		f.pin = ""
		return nil, errMoved
	}
	return nil, err
}

// hold notes that this node has a message. It returns false if it was noted before.
func (f *feed) hold(sequence uint64, m jetstream.Msg) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held[sequence] != nil {
		return false
	}
	f.held[sequence] = m
	return true
}

// lookEvery is the interval at which a node looks whether another one has ended its messages.
const lookEvery = 250 * time.Millisecond

// wait waits until no messages of another node are left, or all of them are due. It returns how many are left. Messages
// that wait for another attempt are among them. While NATS has no leader it asks again.
func (f *feed) wait(ctx context.Context) (int, error) {
	for {
		due := !time.Now().Before(f.until)
		info, err := f.c.Info(ctx)
		switch {
		case err == nil:
			f.mu.Lock()
			left := max(info.NumAckPending-len(f.held), 0)
			f.mu.Unlock()
			if left == 0 || due {
				return left, nil
			}
		case due || !kv.Transient(err):
			return 0, err
		}
		if sleep(ctx, lookEvery); ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
}

// settle ends a message by an acknowledgement or a refusal.
func (f *feed) settle(m jetstream.Msg, end func() error) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	f.mu.Lock()
	delete(f.held, meta.Sequence.Stream)
	f.mu.Unlock()
	return end()
}

// renew keeps NATS from delivering the messages of this node again, until ctx ends. failed takes the errors.
func (f *feed) renew(ctx context.Context, failed func(error)) {
	tick := time.NewTicker(f.ackWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			failed(f.progress())
		}
	}
}

// progress tells NATS that this node has its messages, in their order.
func (f *feed) progress() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var failed []error
	for _, m := range f.ours() {
		failed = append(failed, m.InProgress())
	}
	return errors.Join(failed...)
}

// ours returns the messages that this node has, in the order of the stream. Its caller holds mu.
func (f *feed) ours() (all []jetstream.Msg) {
	for _, sequence := range slices.Sorted(maps.Keys(f.held)) {
		all = append(all, f.held[sequence])
	}
	return all
}

// closeWait bounds the wait for NATS when another node may take over at once.
const closeWait = 2 * time.Second

// close refuses the messages that this node has, and lets another node take over at once.
func (f *feed) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	if f.batch != nil {
		f.endBatch()
		for m := range f.batch.Messages() {
			if meta, err := m.Metadata(); err == nil {
				f.hold(meta.Sequence.Stream, m)
			}
		}
	}
	f.mu.Lock()
	all := f.ours()
	f.mu.Unlock()
	if f.pin == "" {
		return f.refuse(ctx, all...)
	}
	// The client withdraws its request for messages while NATS answers this one. NATS would deliver to it otherwise.
	info, err := f.c.Info(ctx)
	if err != nil {
		return err
	}
	if err := f.refuse(ctx, all...); err != nil || pinnedTo(info) != f.pin {
		return err
	}
	s, err := f.js.Stream(ctx, info.Stream)
	if err != nil {
		return err
	}
	return s.UnpinConsumer(ctx, info.Name, eventlog.WebhookGroup)
}

// pinnedTo returns the pin of the node to which NATS delivers, "" for none.
func pinnedTo(info *jetstream.ConsumerInfo) string {
	for _, group := range info.PriorityGroups {
		if group.Group == eventlog.WebhookGroup {
			return group.PinnedClientID
		}
	}
	return ""
}
