package admin

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fitPage returns a page that fits into a message: the maximum payload of the NATS server may be much smaller than a
// page of limit entries. page returns a page of at most the given number of entries.
func fitPage[Page any](s *Service, limit, maxLimit int, page func(limit int) (Page, error)) (none Page, err error) {
	if limit < 0 || limit > maxLimit {
		return none, failure(Invalid, "limit must be from 1 to %d", maxLimit)
	}
	if limit == 0 {
		limit = maxLimit
	}
	for ; ; limit /= 2 {
		p, err := page(limit)
		if err != nil {
			return none, err
		}
		data, err := json.Marshal(p)
		if err != nil || int64(len(data)) <= s.nc.MaxPayload() || limit == 1 {
			return p, err
		}
	}
}

// position is the position of an entry in a list that is ordered by time.
type position struct {
	at  time.Time
	key string
}

func (p position) compare(q position) int {
	return cmp.Or(p.at.Compare(q.at), cmp.Compare(p.key, q.key))
}

// cursor encodes the position. Clients treat it as opaque.
func (p position) cursor() string {
	return strconv.FormatInt(p.at.Unix(), 10) + "." + strconv.Itoa(p.at.Nanosecond()) + "." + p.key
}

func parseCursor(text string) (p position, err error) {
	if text == "" {
		return p, nil
	}
	seconds, rest, _ := strings.Cut(text, ".")
	nanos, key, _ := strings.Cut(rest, ".")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	n, err2 := strconv.ParseInt(nanos, 10, 64)
	if err != nil || err2 != nil || key == "" {
		return p, failure(Invalid, "after is not a cursor")
	}
	return position{time.Unix(unix, n), key}, nil
}

// pageAfter sorts a complete list and returns at most limit entries after the position, and the cursor of the next
// page.
func pageAfter[T any](all []T, after position, limit int, positionOf func(T) position) (page []T, next string) {
	slices.SortFunc(all, func(x, y T) int { return positionOf(x).compare(positionOf(y)) })
	i := 0
	if after.key != "" {
		i, _ = slices.BinarySearchFunc(all, after, func(x T, after position) int {
			if positionOf(x).compare(after) <= 0 {
				return -1
			}
			return 1
		})
	}
	all = all[i:]
	if len(all) > limit {
		all = all[:limit]
		next = positionOf(all[limit-1]).cursor()
	}
	return all, next
}
