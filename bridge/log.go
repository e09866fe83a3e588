package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/wire"
	"imctl/kv"
)

// OnLogError says what becomes of a dialogue that the log does not take although somebody consumes it.
type OnLogError string

const (
	// RefuseOnLogError answers 507: the sender knows that the dialogue is not in the log, though its friend has it.
	RefuseOnLogError OnLogError = "refuse"
	// ContinueOnLogError answers 200 and counts the dialogue as lost.
	ContinueOnLogError OnLogError = "continue"
)

// EventLogOptions say how an EventLog keeps its entries. The zero value of a field is its default.
type EventLogOptions struct {
	Prefix   string        // of the subjects and, in upper case, of the stream's name; default "im"
	MaxAge   time.Duration // how long an entry waits for its consumers; default 168h
	MaxBytes int64         // of entries that wait for their consumers; default 1 GiB
	Replicas int           // of the stream; default 1
	OnError  OnLogError    // default RefuseOnLogError
	Plain    bool          // no batches: they only cost more where NATS does not sync every write
	Timeout  time.Duration // from a dialogue's frame to the end of its entry's commit; default 5s
	States   *kv.States    // notes that the stream must exist; nil: no note
	// MayWrite, if set, is called before an entry is sent to NATS. Its error refuses the entry.
	MayWrite func() error
	// Answering is called before the senders of some dialogues are answered, and what it returns behind the last of them.
	Answering func() (end func())
	Registry  prometheus.Registerer
	Log       *slog.Logger
}

func (o EventLogOptions) withDefaults() EventLogOptions {
	if o.Prefix == "" {
		o.Prefix = "im"
	}
	if o.MaxAge == 0 {
		o.MaxAge = 168 * time.Hour
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.OnError == "" {
		o.OnError = RefuseOnLogError
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Answering == nil {
		o.Answering = func() func() { return func() {} }
	}
	if o.MayWrite == nil {
		o.MayWrite = func() error { return nil }
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// EventLog tells programs what happened: entries on <prefix>.log.> go to a stream that keeps each of them until all its
// consumers have acknowledged it. While the stream has no consumer nothing is written and nothing waits. While it has
// one, a dialogue is answered 200 only once its entry is stored; the other events are written without anybody waiting.
// All methods work on a nil *EventLog, which has no consumers.
type EventLog struct {
	o       EventLogOptions
	prefix  string // of the subjects: "im.log."
	stream  string
	js      jetstream.JetStream // on the connection that commands come by
	writer  *logWriter
	metrics *logMetrics

	paused    atomic.Bool // a restore is replacing the stream
	attached  atomic.Bool // there may be a consumer; read for every dialogue
	consumers atomic.Int64
	mu        sync.Mutex // guards held
	held      time.Time  // until then attached stays, whatever the stream says
	wake      chan struct{}
	subs      []*nats.Subscription
	stop      context.CancelFunc
	done      chan struct{}
}

// OpenEventLog makes the stream, or checks the one that is there, and finds out whether it has consumers. What happens
// to consumers is heard on nc, which has to be the connection that commands to this node come by; entries are written
// by a connection of the log's own.
//
// Errors: ErrLogStream.
func OpenEventLog(ctx context.Context, nc *nats.Conn, connect func(name string, opts ...nats.Option) (*nats.Conn, error), o EventLogOptions) (_ *EventLog, err error) {
	o = o.withDefaults()
	l := &EventLog{o: o, prefix: o.Prefix + ".log.", stream: logStreamName(o.Prefix), metrics: newLogMetrics(o.Registry),
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	if l.js, err = jetstream.New(nc); err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	if err := ensureLogStream(ctx, l.js, logStreamConfig(o), o.Log); err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	if o.States != nil {
		if _, err := o.States.Expect(ctx, l.stream); err != nil {
			return nil, fmt.Errorf("event log: %w", err)
		}
	}
	// Listening first: a consumer that comes from here on is heard of, one that came before is counted.
	if err := l.listen(ctx, nc); err != nil {
		return nil, errors.Join(fmt.Errorf("event log: %w", err), l.deafen())
	}
	if l.writer, err = newLogWriter(connect, l); err != nil {
		return nil, errors.Join(fmt.Errorf("event log: %w", err), l.deafen())
	}
	var watch context.Context
	watch, l.stop = context.WithCancel(context.Background())
	go l.watch(watch)
	l.metrics.observe(l)
	return l, nil
}

// Close writes what was accepted and ends the log; what is not written when ctx is done is refused.
func (l *EventLog) Close(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.stop()
	<-l.done
	return errors.Join(l.deafen(), l.writer.close(ctx))
}

// Attached tells whether the log is written: its stream has consumers, or may have.
func (l *EventLog) Attached() bool { return l != nil && l.attached.Load() && !l.paused.Load() }

// takes makes an entry of a dialogue that was taken, if there is a consumer. It is then the log that answers the
// flight's asker, and nobody else.
func (l *EventLog) takes(f *flight) bool {
	return l.Attached() && len(f.id) > 0 && l.dialogue(f)
}

func (l *EventLog) dialogue(f *flight) bool {
	e, ok := l.dialogueEntry(f)
	if !ok {
		return false
	}
	e.flight, e.expires = f, f.started.Add(l.o.Timeout)
	l.write(e)
	return true
}

// event writes what happened, if there is a consumer.
func (l *EventLog) event(subject string, fields func(e *eventBody)) {
	if !l.Attached() {
		return
	}
	now := time.Now()
	l.write(logEntry{subject: l.prefix + subject, data: newEventBody(now, fields), expires: now.Add(l.o.Timeout)})
}

func (l *EventLog) write(e logEntry) {
	err := l.mayWrite()
	if err == nil {
		err = l.writer.add(e)
	}
	if err != nil {
		l.writer.trouble(err)
		l.settle(e, false)
	}
}

// mayWrite returns an error if an entry must not be written. Without a consumer NATS stores no entry, so mayWrite allows
// it: dialogues must not fail because of a log that only may have a consumer.
func (l *EventLog) mayWrite() error {
	if l.consumers.Load() == 0 {
		return nil
	}
	return l.o.MayWrite()
}

// settle answers the sender that waits for the entry.
func (l *EventLog) settle(e logEntry, written bool) {
	if written {
		l.metrics.entries.Inc()
	} else if e.flight == nil || l.o.OnError == ContinueOnLogError {
		l.metrics.lost.Inc()
	}
	if e.flight == nil {
		return
	}
	code := wire.Success
	if !written && l.o.OnError != ContinueOnLogError {
		code = wire.SendFailed
	}
	defer recovered(l.o.Log, "answer to a dialogue")
	e.flight.asker.answered(e.flight, code, time.Since(e.flight.started))
}
