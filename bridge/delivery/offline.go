package delivery

import (
	"bytes"
	"context"
	"time"

	"imctl/bridge/eventlog"
	"imctl/bridge/recovery"
	"imctl/bridge/wire"
	"imctl/kv"
)

// A program may want to know of each dialogue to a user of whom no device is connected, such as a gateway to push
// services. The node of the sender then writes an entry to the event log. Where NATS does not tell which subjects have
// subscribers, it asks for the user's devices first, in the background and in order.

const (
	maxOffline   = 4 << 10 // dialogues that wait for the question; further ones are lost
	offlineBatch = 64      // of one question
	offlineWait  = 5 * time.Second
)

// offlines finds out which friends are offline.
type offlines struct {
	log    *eventlog.Log
	online func(ctx context.Context, ids ...string) ([]bool, error)
	in     chan eventlog.Offline
	done   chan struct{}
	cancel context.CancelFunc
}

// newOfflines starts to find out which friends are offline. log may be nil.
func newOfflines(l *Lanes, opts Options) *offlines {
	if opts.Log == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	o := &offlines{log: opts.Log, online: l.Online, in: make(chan eventlog.Offline, maxOffline), done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(o.done)
		for ctx.Err() == nil {
			func() {
				defer recovery.Log(opts.Logger, "dialogues to users that are offline")
				o.run(ctx)
			}()
		}
	}()
	return o
}

// close writes the entries of the dialogues that still wait.
func (o *offlines) close() {
	if o == nil {
		return
	}
	o.cancel()
	<-o.done
	for {
		select {
		case d := <-o.in:
			o.log.AddOffline(d)
		default:
			return
		}
	}
}

// run asks for the friends of dialogues until ctx ends.
func (o *offlines) run(ctx context.Context) {
	for {
		var batch []eventlog.Offline
		select {
		case <-ctx.Done():
			return
		case d := <-o.in:
			batch = append(batch, d)
		}
		for more := true; more && len(batch) < offlineBatch; {
			select {
			case d := <-o.in:
				batch = append(batch, d)
			default:
				more = false
			}
		}
		o.ask(ctx, batch)
	}
}

// ask writes the entries of those dialogues whose friends are offline. If the question fails, it writes all: a needless
// entry does less harm than a missing one.
func (o *offlines) ask(ctx context.Context, batch []eventlog.Offline) {
	places := make(map[string]int, len(batch))
	var ids []string
	for _, d := range batch {
		if _, known := places[d.To]; !known {
			places[d.To] = len(ids)
			ids = append(ids, d.To)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, offlineWait)
	defer cancel()
	online, err := o.online(ctx, ids...)
	for _, d := range batch {
		if err != nil || !online[places[d.To]] {
			o.log.AddOffline(d)
		}
	}
}

// wantsOffline reports whether an entry is written for a dialogue to a user that is offline.
func (l *lane) wantsOffline() bool { return l.flights.log != nil && l.flights.log.WantsOffline() }

// noteOffline writes an entry for a stored dialogue whose friend is offline, and that is no change of another one.
func (s *keptSend) noteOffline(d *kv.Dialogue) {
	if !s.lane.wantsOffline() || d.Hidden || d.Reacts != 0 || d.Edits != 0 || d.Deletes != 0 || s.lane.lanes.User(s.to) != nil {
		return
	}
	entry := eventlog.Offline{From: s.from, To: s.to, ID: d.ID, Payload: d.Payload, N: d.N, At: d.At}
	known := s.lane.interest != nil && !s.lane.flights.covered()
	switch {
	case known && s.lane.others(s.lane.names.Dialogue(s.to), nil):
	case known, s.lane.lanes.offlines == nil:
		s.lane.flights.log.AddOffline(entry)
	default:
		entry.ID, entry.Payload = bytes.Clone(d.ID), bytes.Clone(d.Payload)
		select {
		case s.lane.lanes.offlines.in <- entry:
		default:
			s.lane.flights.log.OfflineLost()
		}
	}
}

// refusedOffline writes an entry for a dialogue that is answered 508.
func (m *Member) refusedOffline(id, payload []byte) {
	if m.user.lane.wantsOffline() {
		m.user.lane.flights.log.AddOffline(eventlog.Offline{From: m.user.id, To: m.lastTo, ID: id, Payload: payload, At: time.Now()})
	}
}

// refusedOffline is Member.refusedOffline for a flight. The flight of a blocked sender went nowhere, and gets no entry.
func (f *flights) refusedOffline(fl *flight) {
	if f.log == nil || fl.probe() || !f.log.WantsOffline() || fl.subject != f.names.Dialogue(fl.to) {
		return
	}
	if d, ok := wire.ParseDialogue(fl.data); ok {
		f.log.AddOffline(eventlog.Offline{From: fl.from, To: fl.to, ID: d.ID, Payload: d.Payload, At: time.Now()})
	}
}
