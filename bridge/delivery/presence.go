package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/subject"
	"imctl/bridge/wire"
)

// A user is online while there is a subscription to its dialogues: of a session in a node, or of a NATS client of its
// own. So a probe tells whether a user is online, and no table can be wrong after a crash.

// presenceTimeout bounds the probes of one call. A user that has not answered by then counts as offline.
const presenceTimeout = time.Second

// coveredTimeout is presenceTimeout while a listener covers the subjects of users. NATS does not tell then that a user
// is offline, and only the nodes and clients of a user that is online answer, at once.
const coveredTimeout = 250 * time.Millisecond

// probe is a dialogue without content. A client acknowledges it and does not show it.
var probe = wire.AppendDialogue(nil, nil, "", nil)

func isProbe(b []byte) bool { return bytes.Equal(b, probe) }

// Probe returns the dialogue without content that asks whether a user is online. IsProbe reports whether a dialogue is
// one.
func Probe() []byte { return bytes.Clone(probe) }

// IsProbe reports whether a dialogue is that of Probe.
func IsProbe(b []byte) bool { return isProbe(b) }

// Left is the answer to a dialogue of a node on which the user is no longer online.
func Left() []byte { return bytes.Clone(left) }

// Refused is the answer to a dialogue that a node does not deliver.
func Refused() []byte { return bytes.Clone(refused) }

// Announce tells friends of a user without a session on this node that the user is online, or no longer.
func (l *Lanes) Announce(user string, friends []string, online bool) {
	l.of(user).announcer.add(&announcement{user: user, friends: friends, online: online})
}

// online reports which users are online, in the order of their ids. A user whose clients refuse the probe, or do not
// answer it, counts as offline.
func (f *flights) online(ctx context.Context, ids []string) ([]bool, error) {
	codes, err := f.ask(ctx, ids)
	if err != nil {
		return nil, err
	}
	online := make([]bool, len(ids))
	for i, code := range codes {
		online[i] = code != wire.PeerOffline && code != wire.SendFailed
	}
	return online, nil
}

// ask is askAt for the subjects of users.
func (f *flights) ask(ctx context.Context, ids []string) ([]wire.Code, error) {
	subjects := make([]string, len(ids))
	for i, id := range ids {
		subjects[i] = f.names.Dialogue(id)
	}
	return f.askAt(ctx, subjects)
}

// askAt returns the codes of the answers to probes. A node whose session has just left refuses a probe, and may be faster
// than the node that accepts it: see flights.refused.
func (f *flights) askAt(ctx context.Context, subjects []string) ([]wire.Code, error) {
	silent, wait := wire.SendFailed, presenceTimeout
	if f.covered() {
		silent, wait = wire.PeerOffline, coveredTimeout
	}
	codes := make([]wire.Code, len(subjects))
	for i := range codes {
		codes[i] = silent
	}
	answers := make(chan probeAnswer, len(subjects))
	for i, on := range subjects {
		fl := f.take(&prober{i, answers})
		fl.subject, fl.data = on, append(fl.data, probe...)
		if err := f.launch(fl); err != nil {
			return nil, fmt.Errorf("presence at %s: %w", on, err)
		}
	}
	timeout, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for range subjects {
		select {
		case a := <-answers:
			codes[a.index] = a.code
		case <-timeout.Done():
			if err := ctx.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return nil, fmt.Errorf("presence: %w", err)
			}
			f.suspect()
			return codes, nil
		}
	}
	return codes, nil
}

type probeAnswer struct {
	index int
	code  wire.Code
}

// prober is the Sender of a probe. The channel has room for its answer.
type prober struct {
	index   int
	answers chan<- probeAnswer
}

func (p *prober) Answered(_ []byte, code wire.Code, _ time.Duration) {
	p.answers <- probeAnswer{p.index, code}
}

// Kept implements Sender. A probe is never stored.
func (p *prober) Kept([]byte, uint64, time.Time, time.Duration) {}

// Prober reports which users are online for a process that serves none.
type Prober struct {
	flights *flights
	in      chan *nats.Msg
	wg      sync.WaitGroup
}

// NewProber returns a prober on a connection.
func NewProber(nc *nats.Conn, prefix subject.Prefix) (*Prober, error) {
	p := &Prober{flights: newFlights(nc, presenceTimeout, func() bool { return false }), in: make(chan *nats.Msg, queueSize)}
	p.flights.names = prefix
	if err := p.flights.subscribe(p.in); err != nil {
		return nil, err
	}
	p.wg.Go(func() {
		for m := range p.in {
			p.flights.receive(m)
		}
	})
	return p, nil
}

// Online reports which users are online, in the order of their ids.
func (p *Prober) Online(ctx context.Context, ids ...string) ([]bool, error) {
	return p.flights.online(ctx, ids)
}

// Close ends the prober. The connection stays open.
func (p *Prober) Close() error {
	err := p.flights.sub.Unsubscribe()
	p.flights.close()
	close(p.in)
	p.wg.Wait()
	return err
}
