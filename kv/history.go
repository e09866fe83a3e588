package kv

import (
	"context"
	"errors"
	"slices"
	"sort"
)

// Range selects Limit dialogues of a conversation: those after After with Forward, otherwise those before Before, or the
// newest if that is 0.
type Range struct {
	Before, After uint64
	Forward       bool
	Limit         int
	Forgot        uint64 // dialogues up to this one are not shown
}

// Page is a part of a conversation as one of its users sees it.
type Page struct {
	Dialogues   []Dialogue // ascending
	First, Last uint64     // numbers of the oldest and the newest dialogue that the user may read; 0: none
}

// bounds returns the numbers of the first and the last dialogue of the range, of those from first to last. If there is
// none, the first number is higher.
func (r Range) bounds(first, last uint64) (uint64, uint64) {
	limit := uint64(max(r.Limit, 0))
	if r.Forward {
		if r.After >= last {
			return 1, 0
		}
		low := max(first, r.After+1)
		return low, min(last, low+limit-1)
	}
	high := last
	if r.Before != 0 {
		high = min(high, r.Before-1)
	}
	if high < limit {
		return first, high
	}
	return max(first, high-limit+1), high
}

// Read returns a part of a conversation as a user sees it: with later changes applied, and what is hidden from the user
// as deleted.
//
// Errors: only those of NATS and ctx.
func (t *Talks) Read(ctx context.Context, p Pair, user string, r Range) (Page, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	head, err := t.Last(ctx, p)
	if err != nil || head == nil {
		return Page{}, err
	}
	first, err := t.oldest(ctx, head)
	if err != nil {
		return Page{}, err
	}
	first = max(first, r.Forgot+1)
	if first > head.Last {
		return Page{}, nil
	}
	page := Page{First: first, Last: head.Last}
	low, high := r.bounds(first, head.Last)
	if low > high {
		return page, nil
	}
	v := view{talks: t, user: user, read: map[uint64]*Record{head.Seq: head}}
	record, err := t.Find(ctx, head, high)
	if errors.Is(err, ErrNoDialogue) { // it expired meanwhile
		return page, nil
	}
	if err != nil {
		return Page{}, err
	}
	for {
		v.read[record.Seq], v.end = record, record.Seq
		for i := len(record.Dialogues) - 1; i >= 0; i-- {
			if d := &record.Dialogues[i]; d.N >= low && d.N <= high {
				page.Dialogues = append(page.Dialogues, *d)
			}
		}
		if record.First <= low {
			break
		}
		earlier, err := t.Before(ctx, record)
		if err != nil {
			return Page{}, err
		}
		if earlier == nil { // it expired meanwhile
			break
		}
		record = earlier
	}
	slices.Reverse(page.Dialogues)
	return page, v.apply(ctx, head, page.Dialogues)
}

// Shown returns the dialogues of a record as a user sees them, with later changes up to head applied.
//
// Errors: only those of NATS and ctx.
func (t *Talks) Shown(ctx context.Context, head, r *Record, user string) ([]Dialogue, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	v := view{talks: t, user: user, read: map[uint64]*Record{head.Seq: head, r.Seq: r}, end: r.Seq}
	dialogues := slices.Clone(r.Dialogues)
	return dialogues, v.apply(ctx, head, dialogues)
}

// view applies the changes of dialogues for a user.
type view struct {
	talks *Talks
	user  string
	read  map[uint64]*Record // the records that are read already, by sequence
	end   uint64             // sequence of the oldest record with changes that matter

	numbers        []uint64             // of the dialogues whose changes matter, sorted
	edits, deletes map[uint64]*Dialogue // the newest of each dialogue, by its number
}

// apply sets what the user sees of dialogues, which are ascending. head is the newest record of the conversation.
func (v *view) apply(ctx context.Context, head *Record, dialogues []Dialogue) error {
	for i := range dialogues {
		v.numbers = append(v.numbers, dialogues[i].N)
		if edited := dialogues[i].Edits; edited != 0 { // the deletion of a dialogue removes its edits, too
			v.numbers = append(v.numbers, edited)
		}
	}
	slices.Sort(v.numbers)
	v.edits, v.deletes = make(map[uint64]*Dialogue), make(map[uint64]*Dialogue)
	if err := v.collect(ctx, head); err != nil {
		return err
	}
	for i := range dialogues {
		v.show(&dialogues[i])
	}
	return nil
}

// collect reads the changes of the records from v.end to head, the newest first. It reads only records that may have
// changes that matter.
func (v *view) collect(ctx context.Context, head *Record) error {
	for r := head; ; {
		for i := len(r.Dialogues) - 1; i >= 0; i-- {
			d := &r.Dialogues[i]
			if d.Edits != 0 && v.edits[d.Edits] == nil && (!d.Hidden || d.From == v.user) {
				v.edits[d.Edits] = d
			}
			if d.Deletes != 0 && v.deletes[d.Deletes] == nil {
				v.deletes[d.Deletes] = d
			}
		}
		next := r.changes
		for _, s := range slices.Backward(r.skips) {
			if !v.matter(s.low, s.high) {
				next = min(next, s.seq)
				break
			}
		}
		if next == 0 || next < v.end {
			return nil
		}
		earlier := v.read[next]
		if earlier == nil {
			var err error
			if earlier, err = v.talks.follow(ctx, r, next); errors.Is(err, ErrNoDialogue) { // it expired meanwhile
				return nil
			} else if err != nil {
				return err
			}
		}
		r = earlier
	}
}

// matter reports whether a change of a dialogue with a number from low to high may matter.
func (v *view) matter(low, high uint64) bool {
	i := sort.Search(len(v.numbers), func(i int) bool { return v.numbers[i] >= low })
	return low != 0 && i < len(v.numbers) && v.numbers[i] <= high
}

// noText is the payload of a deleted dialogue: an empty JSON string.
var noText = []byte(`""`)

// show sets what the user sees of a dialogue.
func (v *view) show(d *Dialogue) {
	by := func(changes map[uint64]*Dialogue, n uint64) *Dialogue {
		if c := changes[n]; c != nil && c.From == d.From {
			return c
		}
		return nil
	}
	switch edit := by(v.edits, d.N); {
	case d.Hidden && d.From != v.user:
		// Not even the id of the sender's choice is shown.
		*d = Dialogue{N: d.N, From: d.From, ID: noText, Payload: noText, At: d.At, Deleted: true}
	case by(v.deletes, d.N) != nil, d.Edits != 0 && by(v.deletes, d.Edits) != nil:
		d.Payload, d.File, d.Deleted = noText, nil, true
	case edit != nil:
		d.Payload, d.Edited = edit.Payload, true
	}
}
