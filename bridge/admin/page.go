package admin

import (
	"strconv"
	"strings"
	"time"

	"imctl/bridge/cluster"
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
		data, err := encode(p)
		if err != nil || int64(len(data)) <= s.nc.MaxPayload() || limit == 1 {
			return p, err
		}
	}
}

// encodeCursor returns a cursor as clients get it: opaque text.
func encodeCursor(c cluster.Cursor) string {
	return strconv.FormatInt(c.Since.Unix(), 10) + "." + strconv.Itoa(c.Since.Nanosecond()) + "." + c.ID
}

func parseCursor(text string) (c cluster.Cursor, err error) {
	if text == "" {
		return c, nil
	}
	seconds, rest, _ := strings.Cut(text, ".")
	nanos, id, _ := strings.Cut(rest, ".")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	n, err2 := strconv.ParseInt(nanos, 10, 64)
	if err != nil || err2 != nil || id == "" {
		return c, failure(Invalid, "after is not a cursor")
	}
	return cluster.Cursor{Since: time.Unix(unix, n), ID: id}, nil
}

// pageAfter sorts a complete list and returns at most limit entries after the cursor, and the cursor of the next page.
func pageAfter[T any](all []T, after cluster.Cursor, limit int, at func(T) cluster.Cursor) (page []T, next string) {
	page, more := cluster.Page(all, after, limit, at)
	if more {
		next = encodeCursor(at(page[len(page)-1]))
	}
	return page, next
}
