package delivery

import (
	"context"
	"errors"
	"maps"
	"slices"

	"imctl/bridge/wire"
)

// maxProbes is the number of friends whose presence one lane probes at once.
const maxProbes = 1 << 10

// refreshPresence shows the sessions that want notices which of their friends are online. They know most of it, but a
// node that crashed or was cut off may not have announced every change.
func (l *lane) refreshPresence(ctx context.Context) error {
	watchers := make(map[string][]*User) // by friend
	for _, u := range l.all() {
		if !slices.ContainsFunc(u.list(), func(m *Member) bool { return m.push }) {
			continue
		}
		for _, id := range u.visible() {
			watchers[id] = append(watchers[id], u)
		}
	}
	for friends := range slices.Chunk(slices.Collect(maps.Keys(watchers)), maxProbes) {
		shown, err := l.showPresence(ctx, watchers, friends, nil)
		if err == nil {
			// A user that came or went meanwhile may have been announced before this. Probe again, so that the last
			// frame is right.
			_, err = l.showPresence(ctx, watchers, friends, shown)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// showPresence probes friends and shows their watchers the result. It leaves out a friend whose presence is as in
// shown.
func (l *lane) showPresence(ctx context.Context, watchers map[string][]*User, friends []string, shown []bool) (online []bool, err error) {
	online, err = l.flights.online(ctx, friends)
	if err = errors.Join(err, ctx.Err()); err != nil { // after a timeout, friends that did not answer would look offline
		return nil, err
	}
	for i, id := range friends {
		if shown != nil && shown[i] == online[i] {
			continue
		}
		frame := wire.AppendPresence(nil, id, online[i])
		for _, u := range watchers[id] {
			u.Notify(frame)
		}
	}
	return online, nil
}
