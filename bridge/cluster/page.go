package cluster

import (
	"cmp"
	"slices"
	"time"
)

// Cursor is the position of an entry in a list that is ordered by time, such as that of all sessions.
type Cursor struct {
	Since time.Time `json:"since"`
	ID    string    `json:"id"` // orders entries of the same time; "" is the beginning of the list
}

// Compare orders cursors, in the same way on every node.
func (c Cursor) Compare(d Cursor) int {
	return cmp.Or(c.Since.Compare(d.Since), cmp.Compare(c.ID, d.ID))
}

// Page sorts a list and returns its entries after the cursor, at most limit. A limit of 0 returns all. more reports
// whether entries follow the page.
func Page[T any](all []T, after Cursor, limit int, at func(T) Cursor) (page []T, more bool) {
	if after.ID != "" {
		all = slices.DeleteFunc(slices.Clone(all), func(e T) bool { return at(e).Compare(after) <= 0 })
	}
	slices.SortFunc(all, func(x, y T) int { return at(x).Compare(at(y)) })
	if limit > 0 && len(all) > limit {
		return all[:limit], true
	}
	return all, false
}
