// Package batch publishes messages as one atomic batch: JetStream stores all of them or none.
//
// github.com/synadia-io/orbit.go/jetstreamext has a publisher for batches too. This package uses its names of headers
// and errors, and not its publisher, which needs a nats.Msg with a header of its own for each message and allocates
// two header values for it. It also bounds the wait for the first acknowledgement by a timeout, and not by the
// caller's context.
package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// MaxSize is how many messages nats-server accepts in one batch.
const MaxSize = 1000

// ErrAck: the acknowledgement is malformed, or its count of messages is not that of the batch.
var ErrAck = errors.New("invalid acknowledgement of a batch")

// Batch is an atomic batch of messages for one stream.
type Batch struct {
	ID   string // must differ from those of all other batches of the stream, and have at most 64 characters
	Size int    // number of messages, 1 to MaxSize
	// Message sets the subject and data of message i, which counts from 0, and adds its headers. All messages share one
	// nats.Msg, so Message must not keep it. Its header has only the batch's own fields when Message is called.
	Message func(i int, m *nats.Msg)
	// AckFirst makes Publish send the first message alone and wait until the server accepts it. If the server refuses
	// the batch, the others are not sent. This costs a round trip.
	AckFirst bool
}

// Ack is the acknowledgement of a batch.
type Ack struct {
	Stream   string // name of the stream that stored the messages
	Sequence uint64 // sequence of the last message; those of the others directly precede it
}

// Publish publishes the batch, commits it, and returns the acknowledgement.
//
// Errors: a *jetstream.APIError if the server refuses the batch, ErrAck, those of the connection, and those of ctx.
// The server has stored no message after a *jetstream.APIError. After any other error it is unknown whether it has
// stored them.
func (b Batch) Publish(ctx context.Context, nc *nats.Conn) (Ack, error) {
	sequence := []string{""}
	m := &nats.Msg{Header: nats.Header{jetstreamext.BatchIDHeader: {b.ID}, jetstreamext.BatchSeqHeader: sequence}}
	for i := range b.Size {
		if len(m.Header) > 2 {
			maps.DeleteFunc(m.Header, func(name string, _ []string) bool {
				return name != jetstreamext.BatchIDHeader && name != jetstreamext.BatchSeqHeader
			})
		}
		sequence[0] = strconv.Itoa(i + 1)
		b.Message(i, m)
		var err error
		switch {
		case i == b.Size-1:
			return b.commit(ctx, nc, m)
		case i == 0 && b.AckFirst:
			err = begin(ctx, nc, m)
		default:
			err = nc.PublishMsg(m)
		}
		if err != nil {
			return Ack{}, fmt.Errorf("publish message %d of a batch of %d: %w", i+1, b.Size, err)
		}
	}
	return Ack{}, errors.New("publish a batch: it has no messages")
}

// begin publishes the first message and waits until the server accepts it.
func begin(ctx context.Context, nc *nats.Conn, m *nats.Msg) error {
	reply, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return err
	}
	if len(reply.Data) == 0 { // the server accepts a message by an empty reply
		return nil
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return fmt.Errorf("%w: %w", ErrAck, err)
	}
	if answer.Error != nil {
		return answer.Error
	}
	return nil
}

// commit publishes the last message, which commits the batch, and checks the acknowledgement.
func (b Batch) commit(ctx context.Context, nc *nats.Conn, m *nats.Msg) (Ack, error) {
	m.Header[jetstreamext.BatchCommitHeader] = []string{"1"}
	reply, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return Ack{}, fmt.Errorf("commit a batch of %d messages: %w", b.Size, err)
	}
	var answer struct {
		Error    *jetstream.APIError `json:"error"`
		Stream   string              `json:"stream"`
		Sequence uint64              `json:"seq"`
		Count    int                 `json:"count"`
	}
	err = json.Unmarshal(reply.Data, &answer)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrAck, err)
	case answer.Error != nil:
		err = answer.Error
	case answer.Stream == "":
		err = fmt.Errorf("%w: it names no stream", ErrAck)
	case answer.Count != b.Size:
		err = fmt.Errorf("%w: it counts %d messages", ErrAck, answer.Count)
	}
	if err != nil {
		return Ack{}, fmt.Errorf("commit a batch of %d messages: %w", b.Size, err)
	}
	return Ack{answer.Stream, answer.Sequence}, nil
}
