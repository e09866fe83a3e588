package bridge

import (
	"bytes"
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"imctl/bridge/wire"
	"imctl/kv"
)

// presenceWait bounds the question who is online. Who has not answered by then counts as offline.
const presenceWait = time.Second

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

func (a *presenceAsker) answered(_ []byte, code wire.Code, _ time.Duration) {
	a.answers <- presenceAnswer{a.index, code != wire.PeerOffline && code != wire.SendFailed}
}
