package kv

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// modelTalk is a conversation in memory.
type modelTalk struct {
	dialogues []Dialogue // all that were stored
	first     uint64     // number of the oldest one that the stream has
}

// add adds dialogues of a record. They must have their numbers.
func (m *modelTalk) add(dialogues []Dialogue) { m.dialogues = append(m.dialogues, dialogues...) }

// shown returns dialogue n as a user sees it.
func (m *modelTalk) shown(n uint64, user string) Dialogue {
	d := m.dialogues[n-1]
	if d.Hidden && d.From != user {
		return Dialogue{N: n, From: d.From, ID: noText, Payload: noText, At: d.At, Deleted: true}
	}
	for _, c := range m.dialogues {
		if c.From == d.From && c.Edits == n && (!c.Hidden || c.From == user) && !d.Deleted {
			d.Payload, d.Edited = c.Payload, true
		}
		if c.From == d.From && c.Deletes != 0 && (c.Deletes == n || c.Deletes == d.Edits) {
			d.Payload, d.Deleted, d.Edited = noText, true, false
		}
	}
	return d
}

// read is Talks.Read by its definition.
func (m *modelTalk) read(user string, r Range) Page {
	var seen []Dialogue
	for n := max(m.first, r.Forgot+1); n <= uint64(len(m.dialogues)); n++ {
		seen = append(seen, m.shown(n, user))
	}
	if len(seen) == 0 {
		return Page{}
	}
	page := Page{First: seen[0].N, Last: seen[len(seen)-1].N}
	seen = slices.DeleteFunc(seen, func(d Dialogue) bool { return r.Forward && d.N <= r.After || r.Before != 0 && d.N >= r.Before })
	if r.Forward {
		page.Dialogues = slices.Clone(seen[:min(r.Limit, len(seen))])
	} else {
		page.Dialogues = slices.Clone(seen[max(0, len(seen)-r.Limit):])
	}
	if len(page.Dialogues) == 0 {
		page.Dialogues = nil
	}
	return page
}

// random returns dialogues that may change earlier ones.
func (m *modelTalk) random(p Pair, random *rand.Rand) []Dialogue {
	dialogues := make([]Dialogue, 1+random.IntN(3))
	all := slices.Clone(m.dialogues)
	for i := range dialogues {
		n := uint64(len(all) + 1)
		d := dialogueAt(1_700_000_000_000+int64(n), []string{p.A, p.B}[random.IntN(2)], fmt.Sprintf(`"%d"`, n))
		d.Hidden = random.IntN(6) == 0
		// As the writer does, change only what is the sender's own and not deleted.
		if n > 1 && random.IntN(3) == 0 {
			target := 1 + random.Uint64N(n-1)
			if random.IntN(2) == 0 {
				target = max(1, n-min(n-1, 1+random.Uint64N(5)))
			}
			t := all[target-1]
			gone := slices.ContainsFunc(all, func(c Dialogue) bool { return c.Deletes == target })
			switch {
			case t.From != d.From || t.Changes() || gone:
			case random.IntN(2) == 0:
				d.Edits = target
			default:
				d.Deletes = target
			}
		}
		d.N = n
		dialogues[i], all = d, append(all, d)
	}
	return dialogues
}

// Pages are what a model says, with edits, deletions, hidden and forgotten dialogues, and records that expire.
func TestTalksRead(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s, random := newTalkStore(t), rand.New(rand.NewPCG(seed, 9))
			models := []*modelTalk{{first: 1}, {first: 1}}
			heads := []*Record{EmptyRecord(pairAt(0), 0), EmptyRecord(pairAt(1), 0)}
			var firsts []struct{ talk, number uint64 } // of each record, by sequence from 1
			for round := range 12 {
				for range 25 {
					n := random.IntN(2)
					dialogues := models[n].random(heads[n].Pair, random)
					models[n].add(dialogues)
					heads[n] = say(t, s.Talks, heads[n], slices.Clone(dialogues)...)
					firsts = append(firsts, struct{ talk, number uint64 }{uint64(n), heads[n].Last + 1})
				}
				if round%3 == 2 {
					expired := uint64(random.IntN(len(firsts)))
					if err := s.Talks.b.purgeSubjects(testContext(t), "", expired+1); err != nil {
						t.Fatal(err)
					}
					for _, f := range firsts[:expired] {
						models[f.talk].first = max(models[f.talk].first, f.number)
					}
					s.Talks.firstRead = time.Time{}
				}
				checkPages(t, s.Talks, models, random)
			}
		})
	}
}

func checkPages(t *testing.T, talks *Talks, models []*modelTalk, random *rand.Rand) {
	t.Helper()
	ctx := testContext(t)
	for range 80 {
		n := random.IntN(2)
		m, p := models[n], pairAt(n)
		last := uint64(len(m.dialogues))
		r := Range{Limit: 1 + random.IntN(30)}
		switch random.IntN(4) {
		case 0:
			r.Before = random.Uint64N(last + 3)
		case 1:
			r.After, r.Forward = random.Uint64N(last+3), true
		case 2:
			r.After, r.Forward = ^uint64(0), true
		}
		if random.IntN(3) == 0 {
			r.Forgot = random.Uint64N(last + 2)
		}
		user := []string{p.A, p.B}[random.IntN(2)]
		got, err := talks.Read(ctx, p, user, r)
		if want := m.read(user, r); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("Read %+v of %d to %d: %v\n got %+v\nwant %+v", r, m.first, last, err, got, want)
		}
		if len(got.Dialogues) == 0 {
			continue
		}
		head := mustLast(t, talks, p)
		found, err := talks.Find(ctx, head, got.Dialogues[0].N)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := talks.Shown(ctx, head, found, user)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range shown {
			if want := m.shown(d.N, user); !reflect.DeepEqual(d, want) {
				t.Fatalf("Shown: %+v, want %+v", d, want)
			}
		}
	}
}

func TestRangeBounds(t *testing.T) {
	t.Parallel()
	const huge = ^uint64(0)
	for _, c := range []struct {
		r                      Range
		first, last, low, high uint64
	}{
		{Range{Limit: 3}, 1, 10, 8, 10},
		{Range{Limit: 30}, 4, 10, 4, 10},
		{Range{Limit: 3, Before: 1}, 1, 10, 1, 0},
		{Range{Limit: 3, Before: 3}, 1, 10, 1, 2},
		{Range{Limit: 3, Before: huge}, 1, 10, 8, 10},
		{Range{Limit: 3, After: 2, Forward: true}, 1, 10, 3, 5},
		{Range{Limit: 3, After: 2, Forward: true}, 6, 10, 6, 8},
		{Range{Limit: 3, After: 9, Forward: true}, 1, 10, 10, 10},
		{Range{Limit: 3, After: 10, Forward: true}, 1, 10, 1, 0},
		{Range{Limit: 3, After: huge, Forward: true}, 1, 10, 1, 0},
	} {
		if low, high := c.r.bounds(c.first, c.last); low != c.low || high != c.high {
			t.Errorf("%+v of %d to %d: %d to %d, want %d to %d", c.r, c.first, c.last, low, high, c.low, c.high)
		}
	}
	if low, high := (Range{}).bounds(1, 10); low <= high {
		t.Errorf("a range without a limit: %d to %d", low, high)
	}
	if low, high := (Range{After: 4, Forward: true}).bounds(1, 10); low <= high {
		t.Errorf("a range after a number without a limit: %d to %d", low, high)
	}
}

// Many later edits of other dialogues cost a page few requests.
func TestTalksReadAmongChanges(t *testing.T) {
	t.Parallel()
	const records = 600
	s := newTalkStore(t)
	ctx := testContext(t)
	head := EmptyRecord(testPair, 0)
	for i := range records {
		d := dialogueAt(int64(i), testPair.A, fmt.Sprintf(`"%d"`, i))
		if head.Last > 0 && i%2 == 0 { // edits the dialogue before
			d.Edits = head.Last
		}
		if i == records-2 {
			d.Edits = 20
		}
		head = say(t, s.Talks, head, d)
	}
	if _, err := s.Talks.Read(ctx, testPair, testPair.A, Range{Limit: 1}); err != nil { // reads the first sequence
		t.Fatal(err)
	}
	var sent uint64
	requests(s.Talks.b.nc, &sent)
	page, err := s.Talks.Read(ctx, testPair, testPair.A, Range{Before: 21, Limit: 20})
	if err != nil || len(page.Dialogues) != 20 || !page.Dialogues[19].Edited || string(page.Dialogues[19].Payload) != fmt.Sprintf(`"%d"`, records-2) {
		t.Fatalf("the page is %+v, %v", page, err)
	}
	if n, most := requests(s.Talks.b.nc, &sent), uint64(20+60); n > most {
		t.Errorf("a page of 20 took %d requests, want at most %d", n, most)
	}
}
