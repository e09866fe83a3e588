package batch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// newStream creates a stream on a NATS server in this process.
func newStream(t *testing.T, config jetstream.StreamConfig) (jetstream.Stream, *nats.Conn) {
	t.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	config.Name, config.Subjects = "S", []string{"s.>"}
	stream, err := js.CreateStream(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return stream, nc
}

// numbered returns a batch whose message i has the data i. Every other message has a header.
func numbered(id string, size int) Batch {
	return Batch{ID: id, Size: size, Message: func(i int, m *nats.Msg) {
		m.Subject, m.Data = fmt.Sprint("s.", i), fmt.Append(nil, i)
		if i%2 == 0 {
			m.Header.Set("Even", "yes")
		}
	}}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	stream, nc := newStream(t, jetstream.StreamConfig{AllowAtomicPublish: true})
	ctx, last := t.Context(), uint64(0)
	for _, size := range []int{1, 2, MaxSize} {
		for _, ackFirst := range []bool{false, true} {
			b := numbered(fmt.Sprint(size, ackFirst), size)
			b.AckFirst = ackFirst
			ack, err := b.Publish(ctx, nc)
			if last += uint64(size); err != nil || ack != (Ack{"S", last}) {
				t.Fatalf("%d messages: %+v, %v; want sequence %d", size, ack, err, last)
			}
			for i := max(0, size-3); i < size; i++ {
				m, err := stream.GetMsg(ctx, last-uint64(size-1-i))
				if err != nil {
					t.Fatal(err)
				}
				if m.Subject != fmt.Sprint("s.", i) || string(m.Data) != fmt.Sprint(i) || (m.Header.Get("Even") == "yes") != (i%2 == 0) {
					t.Errorf("message %d of %d is %s %q %v", i, size, m.Subject, m.Data, m.Header)
				}
			}
		}
	}
}

// If the server refuses a batch, it stores none of its messages.
func TestRefused(t *testing.T) {
	t.Parallel()
	stream, nc := newStream(t, jetstream.StreamConfig{AllowAtomicPublish: true})
	_, plain := newStream(t, jetstream.StreamConfig{})
	conflict := numbered("conflict", 3)
	conflict.Message = func(i int, m *nats.Msg) {
		m.Subject = "s.x"
		if i == 1 {
			m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "7")
		}
	}
	for _, ackFirst := range []bool{false, true} {
		for name, c := range map[string]struct {
			batch Batch
			nc    *nats.Conn
			want  jetstream.ErrorCode
		}{
			"a conflict":               {conflict, nc, jetstream.JSErrCodeStreamWrongLastSequenceConstant},
			"too many messages":        {numbered("large", MaxSize+1), nc, jetstreamext.JSErrCodeBatchPublishExceedsLimit},
			"a stream without batches": {numbered("plain", 2), plain, jetstreamext.JSErrCodeBatchPublishNotEnabled},
		} {
			c.batch.AckFirst = ackFirst
			_, err := c.batch.Publish(t.Context(), c.nc)
			var apiErr *jetstream.APIError
			if !errors.As(err, &apiErr) || apiErr.ErrorCode != c.want {
				t.Errorf("%s, AckFirst %t: %v, want error code %d", name, ackFirst, err, c.want)
			}
		}
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 0 {
		t.Errorf("the stream has %d messages (%v), want none", info.State.Msgs, err)
	}
}

func TestInvalidAcknowledgement(t *testing.T) {
	t.Parallel()
	_, nc := newStream(t, jetstream.StreamConfig{})
	for reply, valid := range map[string]bool{
		`{"stream":"S","seq":9,"count":2}`: true,
		`{"stream":"S","seq":9,"count":1}`: false,
		`{"stream":"S","seq":9}`:           false,
		`{"seq":9,"count":2}`:              false,
		`{}`:                               false,
		`{`:                                false,
		``:                                 false,
	} {
		sub, err := nc.Subscribe("other", func(m *nats.Msg) {
			if m.Reply != "" {
				_ = m.Respond([]byte(reply)) // if it fails, Publish does not return in time
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		ack, err := Batch{ID: "1", Size: 2, Message: func(_ int, m *nats.Msg) { m.Subject = "other" }}.Publish(ctx, nc)
		cancel()
		if valid && (err != nil || ack.Sequence != 9) || !valid && !errors.Is(err, ErrAck) {
			t.Errorf("%q: %+v, %v", reply, ack, err)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPublishFails(t *testing.T) {
	t.Parallel()
	_, nc := newStream(t, jetstream.StreamConfig{AllowAtomicPublish: true})
	if _, err := numbered("1", 0).Publish(t.Context(), nc); err == nil {
		t.Error("a batch without messages was published")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := numbered("2", 2).Publish(ctx, nc); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v, want %v", err, context.Canceled)
	}
}
