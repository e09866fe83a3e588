package bridge

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"imctl/bridge/wire"
)

// A node that crashed leaves nothing behind in NATS: its users are offline, and a dialogue to one of them is answered so.
// But it could not say goodbye, and may have written a change that it told nobody of any more. So the nodes look after
// each other, and when one is gone the others read again what their sessions depend on, and tell them who is there.
// They tell that too when a node is back that was away from NATS: meanwhile its users passed for offline.

const (
	// pulse is how often a node asks the others whether they are there.
	pulse = time.Second
	// surveyWait bounds how long all sessions are told who is there.
	surveyWait = 5 * time.Minute
	// askAtOnce is how many friends one lane asks for at once.
	askAtOnce = 1 << 10
)

// lookAfter asks the other nodes every pulse whether they are there; one that is not is struck off the list thereby, and
// all nodes hear of it. It ends with ctx.
func (b *Bridge) lookAfter(ctx context.Context) {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	check := time.NewTicker(stateCheckEvery)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.service.nodes.lost:
			if b.isHalted() {
				break
			}
			b.tellNodes(ctx, command{Op: opGone})
		case <-check.C:
			if err := b.checkState(ctx); err != nil && !b.link.isAway() && ctx.Err() == nil {
				b.log.Warn("check whether a restore is under way", "err", err)
			}
		case <-tick.C:
			if b.certain.Load() && !b.isHalted() && !b.service.nodes.alone.Load() {
				b.tellNodes(ctx, command{Op: opPing})
			}
		}
	}
}

func (b *Bridge) tellNodes(ctx context.Context, c command) {
	if _, err := b.service.nodes.tell(ctx, c); err != nil && ctx.Err() == nil {
		b.log.Warn("ask the other nodes", "err", err)
	}
}

// surveys puts right what comes of nodes that are gone or back. It ends with ctx.
func (b *Bridge) surveys(ctx context.Context) {
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-b.gone:
			err = b.reloadAll(ctx)
			signal(b.back)
		case <-b.back:
			err = b.survey(ctx)
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("look what a node left behind", "err", err)
		}
	}
}

func (b *Bridge) survey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, surveyWait)
	defer cancel()
	for _, l := range b.lanes {
		if err := l.survey(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reloadAll reads again what all sessions depend on.
func (b *Bridge) reloadAll(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(reloadsAtOnce)
	for _, lane := range b.lanes {
		for _, u := range lane.all() {
			g.Go(func() error { return b.reload(ctx, u) })
		}
	}
	return g.Wait()
}

// survey tells the sessions that want news which of their friends are online and which are not. They know most of it
// already; nobody knows what they missed.
func (l *lane) survey(ctx context.Context) error {
	watchers := make(map[string][]*user) // by friend
	for _, u := range l.all() {
		if !slices.ContainsFunc(u.list(), func(s *session) bool { return s.push }) {
			continue
		}
		for _, id := range u.friendIDs() {
			watchers[id] = append(watchers[id], u)
		}
	}
	for some := range slices.Chunk(slices.Collect(maps.Keys(watchers)), askAtOnce) {
		told, err := l.tellPresence(ctx, watchers, some, nil)
		if err == nil {
			// Who came or went meanwhile may have said so before this was said: the last word has to be the truth.
			_, err = l.tellPresence(ctx, watchers, some, told)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tellPresence asks who of some friends is online and tells their watchers, but for what was told to them before.
func (l *lane) tellPresence(ctx context.Context, watchers map[string][]*user, friends []string, told []bool) (online []bool, err error) {
	online, err = l.presence(ctx, friends)
	if err = errors.Join(err, ctx.Err()); err != nil { // cut off, those who did not answer would pass for offline
		return nil, err
	}
	for i, id := range friends {
		if told != nil && told[i] == online[i] {
			continue
		}
		frame := wire.AppendPresence(nil, id, online[i])
		for _, u := range watchers[id] {
			u.notice(frame)
		}
	}
	return online, nil
}
