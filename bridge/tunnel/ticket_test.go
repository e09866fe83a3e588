package tunnel

import (
	"fmt"
	"testing"
	"time"
)

func TestTicketsAreBounded(t *testing.T) {
	t.Parallel()
	var all tickets
	all.init()
	start := time.Unix(1_000_000, 0)
	add := func(hash, user string, now time.Time) {
		all.add(&ticket{hash: hash, user: user, sealed: []byte(hash), expires: now.Add(ticketLife)}, now)
	}
	add("a", "u", start)
	if string(all.take("a", start.Add(ticketLife-1))) != "a" || all.take("a", start) != nil {
		t.Error("a ticket is not taken once")
	}
	add("a", "u", start)
	if all.take("a", start.Add(ticketLife)) != nil {
		t.Error("an expired ticket is taken")
	}

	add("other", "v", start)
	for i := range maxUserOnes + 1 {
		add(fmt.Sprint(i), "u", start)
	}
	if all.take("0", start) != nil || all.take("1", start) == nil || all.take("other", start) == nil {
		t.Error("one ticket too many of a user does not drop the oldest one of that user")
	}
	all.drop("u")
	if len(all.byHash)+len(all.byUser)+all.oldest.Len() != 0 {
		t.Errorf("after all are dropped: %d, %d, %d", len(all.byHash), len(all.byUser), all.oldest.Len())
	}

	for i := range maxTickets + 1 {
		add(fmt.Sprint(i), fmt.Sprint("u", i), start)
	}
	if len(all.byHash) != maxTickets || all.take("0", start) != nil || all.take("1", start) == nil {
		t.Errorf("a node has %d tickets", len(all.byHash))
	}
	add("later", "w", start.Add(ticketLife))
	if len(all.byHash) != 1 || len(all.byUser) != 1 {
		t.Errorf("%d expired tickets of %d users are kept", len(all.byHash)-1, len(all.byUser)-1)
	}
}
