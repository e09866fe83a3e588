package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"

	"imctl/kv"
)

// HistoryOptions are the options of History.
type HistoryOptions struct {
	Conversations int
	Dialogues     int // of all conversations together
	PerRecord     int // dialogues that were stored together
	Size          int // bytes of a payload
	Page          int // dialogues of a page
	Times         int // pages to read
}

// HistoryReport is the result of History.
type HistoryReport struct {
	Conversations int     `json:"conversations"`
	Dialogues     int     `json:"dialogues"`
	PerRecord     int     `json:"dialogues_per_record"`
	Page          int     `json:"page"`
	Times         int     `json:"times"`
	Newest        Latency `json:"newest_ms"` // of the newest page of a conversation
	Older         Latency `json:"older_ms"`  // of a page anywhere in a conversation
	Server        *Usage  `json:"server"`

	plot []Series
}

// History writes conversations, and measures how long pages of them take, one at a time.
func History(ctx context.Context, t *Target, crowd Crowd, talks *Talks, server Process, progress *Progress, o HistoryOptions) (*HistoryReport, error) {
	people, err := crowd.Make(ctx, peopleFor(o.Conversations), func(func(int, int) bool) {})
	if err != nil {
		return nil, err
	}
	type talk struct{ reader, with int }
	all := make([]talk, 0, o.Conversations)
	pairs := make([]kv.Pair, 0, o.Conversations)
	for i := range people {
		for j := range i {
			if len(all) < o.Conversations {
				all = append(all, talk{i, j})
				pairs = append(pairs, kv.PairOf(people[i].ID, people[j].ID))
			}
		}
	}
	each := o.Dialogues / o.Conversations
	if err := talks.fill(ctx, pairs, fillOptions{each: each, perRecord: o.PerRecord, size: o.Size}, progress); err != nil {
		return nil, err
	}
	progress.show(fmt.Sprintf("history: logging in %d accounts", len(people)))
	tunnels := make([]*tunnel, len(people))
	for i, p := range people {
		if tunnels[i], err = t.login(ctx, p); err != nil {
			return nil, err
		}
		defer tunnels[i].close()
		go tunnels[i].drain()
	}
	r := &HistoryReport{Conversations: o.Conversations, Dialogues: each * o.Conversations, PerRecord: o.PerRecord, Page: o.Page, Times: o.Times}
	page := func(before int) error {
		c := all[rand.IntN(len(all))]
		query := url.Values{"with": {people[c.with].ID}, "limit": {strconv.Itoa(o.Page)}}
		if before > 0 {
			query.Set("before", strconv.Itoa(before))
		}
		return t.get(ctx, "/dialogues", tunnels[c.reader], query)
	}
	measured := &CallReport{Times: o.Times, Calls: make(map[string]Latency)}
	m := calls{r: measured, ctx: ctx, progress: progress}
	before := server.sample()
	m.each("newest page", func(int) error { return page(0) })
	m.each("older page", func(int) error { return page(2 + rand.IntN(each)) })
	if m.err != nil {
		return nil, m.err
	}
	r.Server = server.sample().since(before, int64(2*o.Times))
	r.plot = measured.plot
	r.Newest, r.Older = r.plot[0].Whole, r.plot[1].Whole
	return r, nil
}

// peopleFor returns how many users have that many conversations with each other.
func peopleFor(conversations int) int {
	n := 2
	for n*(n-1)/2 < conversations {
		n++
	}
	return n
}

// Plot implements Report.
func (r *HistoryReport) Plot() []Series { return r.plot }

// Rows implements Report.
func (r *HistoryReport) Rows() [][]string {
	return append([][]string{
		{"load", fmt.Sprintf("%d dialogues in %d conversations, %d in a record, %d pages of %d", r.Dialogues, r.Conversations, r.PerRecord, r.Times, r.Page)},
		{"newest page", r.Newest.String()},
		{"older page", r.Older.String()},
	}, r.Server.rows("page")...)
}
