package im

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"imctl/bridge/wire"
)

const (
	maxShown      = 16 << 10 // profiles that a node remembers
	maxShownBytes = 2 << 10  // of the texts of a profile that it remembers
	// shownFor is how long it remembers a profile. A replica that lags may have returned the profile of before a
	// change, and a node of an older version broadcasts no changes.
	shownFor = time.Minute
)

// shownProfiles remembers profiles as clients with push see them: with the address of the picture. A login with 2,000
// friends would otherwise read 130 MB of pictures to compute their addresses. A change of a profile is broadcast before
// its call is answered, so that every node forgets the old profile.
type shownProfiles struct {
	mu       sync.Mutex // guards the fields below
	profiles *simplelru.LRU[string, shownProfile]
	changes  uint64 // counts calls of forget: a profile that was read before a change is not remembered
}

type shownProfile struct {
	wire.Profile
	until time.Time
}

func newShownProfiles() *shownProfiles {
	profiles, err := simplelru.NewLRU[string, shownProfile](maxShown, nil)
	if err != nil {
		panic(err) // the size is positive: there is no other error
	}
	return &shownProfiles{profiles: profiles}
}

// get returns the remembered profiles of these ids, the other ids, and the number of changes so far.
func (s *shownProfiles) get(ids []string) (known map[string]wire.Profile, missing []string, changes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known = make(map[string]wire.Profile, len(ids))
	for _, id := range ids {
		if p, ok := s.profiles.Get(id); ok && time.Now().Before(p.until) {
			known[id] = p.Profile
		} else {
			missing = append(missing, id)
		}
	}
	return known, missing, s.changes
}

// add remembers a profile that was read after that number of changes.
func (s *shownProfiles) add(p wire.Profile, changes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if changes == s.changes && len(p.Name)+len(p.Picture)+len(p.Sex)+len(p.Birthday)+len(p.Sign) <= maxShownBytes {
		s.profiles.Add(p.ID, shownProfile{p, time.Now().Add(shownFor)})
	}
}

// ForgetProfile makes this node read the profile of a user again. An empty id means all users.
func (f *Friends) ForgetProfile(id string) {
	s := f.shown
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	if id == "" {
		s.profiles.Purge()
	} else {
		s.profiles.Remove(id)
	}
}

// shownOf returns the profiles of the users with these ids as clients with push see them, and how many bytes it has
// read. Users that do not exist are not in the map.
func (f *Friends) shownOf(ctx context.Context, ids []string) (known map[string]wire.Profile, read int, err error) {
	known, missing, changes := f.shown.get(ids)
	if len(missing) == 0 {
		return known, 0, nil
	}
	users, err := f.Store.Users.GetMany(ctx, missing)
	if err != nil {
		return nil, 0, err
	}
	for _, u := range users {
		read += len(u.Picture) + plainUser
		p := ProfileOf(withAddress(u))
		f.shown.add(p, changes)
		known[p.ID] = p
	}
	return known, read, nil
}
