package admin

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fitting returns a page that fits into a message: a NATS server may take messages only that are much smaller than
// what was asked for.
func fitting[Page any](s *Service, limit, most int, page func(limit int) (Page, error)) (none Page, err error) {
	if limit < 0 || limit > most {
		return none, failure(Invalid, "limit must be from 1 to %d", most)
	}
	if limit == 0 {
		limit = most
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

// place is where something stands in a list that is ordered by time.
type place struct {
	at  time.Time
	key string
}

func (p place) compare(q place) int { return cmp.Or(p.at.Compare(q.at), cmp.Compare(p.key, q.key)) }

// cursor is the place as a text, which means something here only.
func (p place) cursor() string {
	return strconv.FormatInt(p.at.Unix(), 10) + "." + strconv.Itoa(p.at.Nanosecond()) + "." + p.key
}

func parseCursor(text string) (p place, err error) {
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
	return place{time.Unix(unix, n), key}, nil
}

// behind sorts a list that is all there, and returns what comes after the cursor, limit at most, and the next cursor.
func behind[T any](all []T, after place, limit int, where func(T) place) (page []T, next string) {
	slices.SortFunc(all, func(x, y T) int { return where(x).compare(where(y)) })
	i := 0
	if after.key != "" {
		i, _ = slices.BinarySearchFunc(all, after, func(x T, after place) int {
			if where(x).compare(after) <= 0 {
				return -1
			}
			return 1
		})
	}
	all = all[i:]
	if len(all) > limit {
		all = all[:limit]
		next = where(all[limit-1]).cursor()
	}
	return all, next
}
