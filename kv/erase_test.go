package kv

import (
	"context"
	"sync"
	"testing"
)

// messages returns how many messages the stream has, and of how many conversations.
func messages(t *testing.T, talks *Talks) (records, conversations int) {
	t.Helper()
	seen := make(map[Pair]bool)
	if err := talks.Scan(testContext(t), func(r *Record) error {
		records++
		seen[r.Pair] = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return records, len(seen)
}

// An erased conversation has no dialogues, and its numbers go on.
func TestErase(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	if err := s.Talks.Erase(ctx, testPair); err != nil {
		t.Errorf("erase a conversation without records: %v", err)
	}
	head := EmptyRecord(testPair, 0)
	for i := range 50 {
		head = say(t, s.Talks, head, dialogueAt(int64(i), testPair.A, `"x"`), dialogueAt(int64(i), testPair.B, `"y"`))
	}
	say(t, s.Talks, EmptyRecord(pairAt(1), 0), dialogueAt(1, pairAt(1).A, `"z"`))
	for range 2 {
		if err := s.Talks.Erase(ctx, testPair); err != nil {
			t.Fatal(err)
		}
		if records, _ := messages(t, s.Talks); records != 2 {
			t.Errorf("the stream has %d records, want the end of one conversation and the other one", records)
		}
	}
	if page, err := s.Talks.Read(ctx, testPair, testPair.A, Range{Limit: 10}); err != nil || page.First != 0 || page.Last != 0 || page.Dialogues != nil {
		t.Errorf("an erased conversation: %+v, %v", page, err)
	}
	head = mustLast(t, s.Talks, testPair)
	if head.Last != 100 {
		t.Errorf("the last number is %d, want 100", head.Last)
	}
	for i := range 10 {
		head = say(t, s.Talks, head, dialogueAt(int64(i), testPair.A, `"x"`))
	}
	page, err := s.Talks.Read(ctx, testPair, testPair.A, Range{Limit: 100})
	if err != nil || page.First != 101 || page.Last != 110 || len(page.Dialogues) != 10 || page.Dialogues[0].N != 101 {
		t.Errorf("a conversation that goes on: %+v, %v", page, err)
	}
}

// What an interrupted erasure has left is removed by the next one.
func TestEraseAgain(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	head := EmptyRecord(testPair, 0)
	for range 2 {
		for i := range 5 {
			head = say(t, s.Talks, head, dialogueAt(int64(i), testPair.A, `"x"`))
		}
		end := EmptyRecord(testPair, head.Last) // as Erase does before it is interrupted
		end.Seq = head.Seq
		head = end.Next(0, nil)
		if err := s.Talks.publish(ctx, head); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Talks.deleteRecord(ctx, 2); err != nil { // of those that are deleted at once, one may come first
		t.Fatal(err)
	}
	if err := s.Talks.Erase(ctx, testPair); err != nil {
		t.Fatal(err)
	}
	if records, _ := messages(t, s.Talks); records != 1 {
		t.Errorf("the stream has %d records, want 1", records)
	}
}

// Erasures beside a writer lose none of the dialogues that follow, and the numbers have no gap.
func TestEraseWhileWriting(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	var writing sync.WaitGroup
	first := make(chan struct{})
	writing.Go(func() {
		head, written := EmptyRecord(testPair, 0), 0
		for written < 300 {
			next := head.Next(1, []Dialogue{dialogueAt(int64(written), testPair.A, `"x"`)})
			err := s.Talks.publish(ctx, next)
			if Conflicting(err) {
				if head, err = s.Talks.Last(ctx, testPair); err == nil {
					continue
				}
			}
			if err != nil {
				t.Error(err)
				return
			}
			if written++; next.Last != uint64(written) {
				t.Errorf("dialogue %d has the number %d", written, next.Last)
			}
			if head = next; written == 1 {
				close(first)
			}
		}
	})
	<-first
	done := make(chan struct{})
	go func() { writing.Wait(); close(done) }()
	for n := 0; ; n++ {
		select {
		case <-done:
			page, err := s.Talks.Read(ctx, testPair, testPair.B, Range{Limit: 300})
			if err != nil || page.Last != 0 && page.Last != 300 {
				t.Errorf("at the end: %+v, %v", page, err)
			}
			records, _ := messages(t, s.Talks)
			if len(page.Dialogues)+1 < records {
				t.Errorf("the stream has %d records of %d dialogues", records, len(page.Dialogues))
			}
			t.Logf("%d erasures, %d dialogues left", n, len(page.Dialogues))
			return
		default:
			if err := s.Talks.Erase(ctx, testPair); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// EraseUser removes all of a user's conversations, and none of others.
func TestEraseUser(t *testing.T) {
	t.Parallel()
	s := newTalkStore(t)
	ctx := testContext(t)
	user, others := "5"+NewID()[1:], []string{"1" + NewID()[1:], "4" + NewID()[1:], "6" + NewID()[1:], "9" + NewID()[1:]}
	for _, other := range others {
		head := EmptyRecord(PairOf(user, other), 0)
		for i := range 4 {
			head = say(t, s.Talks, head, dialogueAt(int64(i), user, `"x"`))
		}
	}
	if err := s.Talks.Erase(ctx, PairOf(user, others[0])); err != nil {
		t.Fatal(err)
	}
	say(t, s.Talks, EmptyRecord(PairOf(others[0], others[1]), 0), dialogueAt(1, others[0], `"x"`))
	for range 2 {
		if err := s.Talks.EraseUser(ctx, user); err != nil {
			t.Fatal(err)
		}
		if records, conversations := messages(t, s.Talks); records != 1 || conversations != 1 {
			t.Errorf("the stream has %d records of %d conversations, want 1 of 1", records, conversations)
		}
	}
	for _, id := range []string{"", "*", ">"} {
		if err := s.Talks.EraseUser(context.Background(), id); err == nil {
			t.Errorf("EraseUser accepts %q", id)
		}
	}
}
