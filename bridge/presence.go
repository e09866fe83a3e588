package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"imctl/bridge/wire"
	"imctl/kv"
)

// presenceWait bounds the question who is online. Who has not answered by then counts as offline.
const presenceWait = time.Second

// probeAnswers is how many answers to one question may wait to be read. The first that says yes is enough.
const probeAnswers = 16

// probe is a dialogue that nobody sends: whoever takes dialogues for a user answers it, and shows it to nobody.
var probe = wire.AppendDialogue(nil, nil, "", nil)

func isProbe(b []byte) bool { return bytes.Equal(b, probe) }

// people returns the friends and requests of a user as its login shows them.
func (s *Service) people(ctx context.Context, me kv.User, r kv.Roster, l *lane) ([]wire.Friend, []wire.Request, error) {
	ids := make([]string, 0, len(r.Friends)+len(r.Requests))
	for _, f := range r.Friends {
		ids = append(ids, f.ID)
	}
	for _, q := range r.Requests {
		ids = append(ids, q.From)
	}
	if len(ids) == 0 {
		return nil, nil, nil
	}
	var users map[string]kv.User
	var online []bool
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		users, err = s.kv.Users.GetMany(ctx, ids)
		return err
	})
	g.Go(func() (err error) {
		online, err = l.presence(ctx, ids[:len(r.Friends)])
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	friends := make([]wire.Friend, 0, len(r.Friends))
	for i, f := range r.Friends {
		if u, ok := users[f.ID]; ok { // not, while its account is being deleted
			friends = append(friends, friendOf(u, f.Alias, online[i]))
		}
	}
	requests := make([]wire.Request, 0, len(r.Requests))
	for _, q := range r.Requests {
		if u, ok := users[q.From]; ok {
			requests = append(requests, wire.Request{ID: u.ID, Name: u.Name, To: me.ID, Note: q.Note})
		}
	}
	return friends, requests, nil
}

// online asks whether some session of the user takes dialogues now. One that refuses, since it has just left, may be
// faster to say so than another that takes them.
func (s *Service) online(ctx context.Context, id string) (bool, error) {
	failed := func(err error) (bool, error) { return false, fmt.Errorf("presence of user %s: %w", id, err) }
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	// The client library's own synchronous subscription has room for 65,536 messages.
	answers := make(chan *nats.Msg, probeAnswers)
	sub, err := s.nc.ChanSubscribe(s.nc.NewInbox(), answers)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails where the connection is gone, and the subscription with it
	if err := s.nc.PublishRequest(s.o.Prefix+".user."+id+"."+leafDialogue, sub.Subject, probe); err != nil {
		return failed(err)
	}
	for refused := false; ; {
		select {
		case <-ctx.Done():
			if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
				return failed(err)
			}
			return false, nil
		case m := <-answers:
			switch replyCode(m) {
			case wire.PeerOffline:
				return false, nil
			case wire.SendFailed:
			default:
				return true, nil
			}
		}
		if !refused {
			refused = true
			ctx, cancel = context.WithTimeout(ctx, crossing)
			defer cancel()
		}
	}
}

// presence asks for all the users at once whether somebody takes dialogues for them.
func (l *lane) presence(ctx context.Context, ids []string) ([]bool, error) {
	online := make([]bool, len(ids))
	answers := make(chan presenceAnswer, len(ids))
	for i, id := range ids {
		if err := l.flights.send(l.prefix+id+"."+leafDialogue, probe, nil, &presenceAsker{i, answers}); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	for range ids {
		select {
		case a := <-answers:
			online[a.index] = a.online
		case <-ctx.Done():
			return online, nil
		}
	}
	return online, nil
}

type presenceAnswer struct {
	index  int
	online bool
}

// presenceAsker waits for one user's answer. There is room for it: nobody waits to say it.
type presenceAsker struct {
	index   int
	answers chan<- presenceAnswer
}

func (a *presenceAsker) answered(_ *flight, code wire.Code, _ time.Duration) {
	a.answers <- presenceAnswer{a.index, code != wire.PeerOffline && code != wire.SendFailed}
}

// announcer tells the friends of users who come and go, one after the other, so that who goes and comes back at once is
// not seen in the wrong order. What waits is bounded by the sessions there are: coming and going undo each other, where
// no other node may have told the one and not the other.
type announcer struct {
	service *Service
	lane    *lane
	done    chan struct{}

	mu      sync.Mutex
	wake    *sync.Cond
	waiting []announcement
	of      map[string]int // how many of a user wait
	closed  bool
}

type announcement struct {
	user    string
	friends []string
	online  bool
}

func newAnnouncer(s *Service, l *lane) *announcer {
	a := &announcer{service: s, lane: l, done: make(chan struct{}), of: make(map[string]int)}
	a.wake = sync.NewCond(&a.mu)
	go a.run()
	return a
}

func (a *announcer) add(n announcement) {
	if len(n.friends) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if waiting := a.of[n.user]; waiting > 0 {
		first := slices.IndexFunc(a.waiting, func(w announcement) bool { return w.user == n.user })
		undone, alone := a.waiting[first].online != n.online, a.service.nodes.alone.Load()
		if waiting == 2 || !undone || alone {
			a.waiting = slices.DeleteFunc(a.waiting, func(w announcement) bool { return w.user == n.user })
			delete(a.of, n.user)
		}
		if waiting == 1 && undone && alone {
			return
		}
	}
	a.of[n.user]++
	a.waiting = append(a.waiting, n)
	a.wake.Signal()
}

// close waits until everything that was added before is told.
func (a *announcer) close() {
	a.mu.Lock()
	a.closed = true
	a.wake.Signal()
	a.mu.Unlock()
	<-a.done
}

func (a *announcer) run() {
	defer close(a.done)
	for {
		a.mu.Lock()
		for len(a.waiting) == 0 && !a.closed {
			a.wake.Wait()
		}
		if len(a.waiting) == 0 {
			a.mu.Unlock()
			return
		}
		n := a.waiting[0]
		a.waiting = a.waiting[1:]
		if a.of[n.user]--; a.of[n.user] == 0 {
			delete(a.of, n.user)
		}
		a.mu.Unlock()
		a.tell(n)
	}
}

func (a *announcer) tell(n announcement) {
	defer recovered(a.service.log, "presence")
	if !n.online {
		// The last session here has ended; there may be others elsewhere, or a new one here.
		if there, err := a.service.online(context.Background(), n.user); err != nil || there {
			return
		}
	}
	a.show(n)
	if n.online {
		return
	}
	// One that came meanwhile may have said so before this was said: the last word has to be that it is there.
	if there, err := a.service.online(context.Background(), n.user); err == nil && there {
		n.online = true
		a.show(n)
	}
}

func (a *announcer) show(n announcement) {
	frame := wire.AppendPresence(nil, n.user, n.online)
	for _, id := range n.friends {
		if a.service.show(id, frame) != nil {
			return // NATS is away, and with it everybody's presence
		}
	}
}
