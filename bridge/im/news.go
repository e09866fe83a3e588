package im

import (
	"context"
	"maps"
	"slices"

	"imctl/bridge/wire"
)

// News returns frames that bring a client of a user up to date about other users. For each id, relation says whether
// the client may also have missed the beginning or the end of a friendship or of a request.
func (f *Friends) News(ctx context.Context, me string, relation map[string]bool) ([][]byte, error) {
	r, _, err := f.Store.Rosters.Get(ctx, me)
	if err != nil {
		return nil, err
	}
	ids := slices.Sorted(maps.Keys(relation))
	profiles, _, err := f.shownOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	online, err := f.Presence.Online(ctx, ids...)
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	for i, id := range ids {
		p := profiles[id]
		p.ID = id // of a user that was deleted meanwhile
		friend, isFriend := r.Friend(id)
		hidden := isFriend && Hidden(r, friend)
		switch {
		case isFriend && relation[id]:
			frames = append(frames, wire.AppendAdded(nil, asFriend(p, friend.Alias, online[i] && !hidden)))
		case isFriend:
			if !hidden {
				frames = append(frames, wire.AppendRefresh(nil, p))
			}
			frames = append(frames, wire.AppendPresence(nil, id, online[i] && !hidden))
		case relation[id]:
			frames = append(frames, wire.AppendRemoved(nil, id))
			if q, ok := r.Request(id); ok {
				frames = append(frames, wire.AppendApply(nil, wire.Request{ID: id, Name: p.Name, To: me, Note: q.Note}))
			}
		}
	}
	return frames, nil
}
