package governor

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

var errWrong, errBusy = errors.New("wrong"), errors.New("busy")

const attacker, owner = "198.51.100.1", "192.0.2.1"

// guess fails a login, and reports whether it was checked.
func guess(g *Governor, address, account string) bool {
	a, err := g.Login(context.Background(), address, account, false)
	if err == nil {
		a.Settle(errWrong, errWrong)
	}
	return err == nil
}

func logIn(t *testing.T, g *Governor, address, account string) *Attempt {
	t.Helper()
	a, err := g.Login(t.Context(), address, account, false)
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	return a
}

// TestGuessesDoNotLockOut: no number of guesses, from anywhere, keeps the owner of an account out on a known device. An
// unknown device shares the limit with the guesses.
func TestGuessesDoNotLockOut(t *testing.T) {
	t.Parallel()
	g, _ := newGovernor(t, Options{LoginFailures: Rate{10, time.Minute}, Logins: Rate{60, time.Minute}})
	logIn(t, g, owner, "ann").Settle(nil, errWrong)
	checked := 0
	for i := range 100 {
		if guess(g, fmt.Sprintf("198.51.100.%d", i%20), "ann") {
			checked++
		}
	}
	if checked != 10 {
		t.Errorf("%d guesses were checked, want 10", checked)
	}
	for range 15 {
		a := logIn(t, g, owner, "ann")
		if a.class != Known {
			t.Errorf("the owner's login is of class %d, want %d", a.class, Known)
		}
		a.Settle(nil, errWrong)
	}
	if _, err := g.Login(t.Context(), "203.0.113.1", "ann", false); !errors.Is(err, ErrLimited) {
		t.Errorf("an unknown device: got %v, want %v", err, ErrLimited)
	}
	if n := 0; guess(g, owner, "ann") {
		for guess(g, owner, "ann") {
			n++
		}
		if n != 9 {
			t.Errorf("a known device had %d guesses, want 10", n+1)
		}
	}
}

// TestGuessesInFlight: guesses at the same time are held to the limit, and logins that were not checked do not count.
func TestGuessesInFlight(t *testing.T) {
	t.Parallel()
	g, _ := newGovernor(t, Options{LoginFailures: Rate{10, time.Minute}})
	var open []*Attempt
	for range 60 {
		if a, err := g.Login(t.Context(), attacker, "ann", false); err == nil {
			open = append(open, a)
		}
	}
	if len(open) != 10 {
		t.Fatalf("%d of 60 at once, want 10", len(open))
	}
	for _, a := range open {
		a.Settle(errBusy, errWrong)
	}
	if logIn(t, g, attacker, "ann"); len(open) != 10 {
		t.Error("a login that was not checked counts")
	}
}

// TestNeighbours: an address that guesses is slowed down. Other users behind it are not locked out.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	g, log := newGovernor(t, Options{LoginFailures: Rate{10, time.Minute}, Logins: Rate{600, time.Minute}})
	logIn(t, g, attacker, "known").Settle(nil, errWrong)
	for i := range 200 {
		guess(g, attacker, fmt.Sprint("victim", i))
	}
	if a := logIn(t, g, attacker, "neighbour"); a.class != Suspects {
		t.Errorf("a new login behind a guessing address is of class %d, want %d", a.class, Suspects)
	}
	if a := logIn(t, g, attacker, "known"); a.class != Known {
		t.Errorf("a known device behind a guessing address is of class %d, want %d", a.class, Known)
	}
	if a := logIn(t, g, owner, "other"); a.class != People {
		t.Errorf("a login from elsewhere is of class %d, want %d", a.class, People)
	}
	if n := len(log.lines("login failed")); n == 0 || n > 50 {
		t.Errorf("200 failed logins wrote %d lines", n)
	}
}

// TestRecognise: a device that logged in before the start of the process is asked for when it matters, and only then.
func TestRecognise(t *testing.T) {
	t.Parallel()
	g, _ := newGovernor(t, Options{LoginFailures: Rate{10, time.Minute}})
	asked := 0
	g.SetSeenFrom(func(_ context.Context, account, address string) bool {
		asked++
		return account == "ann" && address == owner
	})
	logIn(t, g, attacker, "bob").Settle(errBusy, errWrong)
	if asked != 0 {
		t.Error("asked without need")
	}
	for range 20 {
		guess(g, attacker, "ann")
	}
	if a := logIn(t, g, owner, "ann"); a.class != Known || asked == 0 {
		t.Errorf("class %d after %d questions, want %d", a.class, asked, Known)
	}
	before := asked
	if logIn(t, g, owner, "ann"); asked != before {
		t.Error("asked again for a device that is known by now")
	}
	for range 100 {
		guess(g, attacker, "ann")
	}
	if asked > before+questions.Events {
		t.Errorf("asked %d times about a device that guesses", asked-before)
	}
}

// TestUndecidedLogins: logins that end without a decision, since the server is busy, leave the address its logins.
func TestUndecidedLogins(t *testing.T) {
	t.Parallel()
	g, _ := newGovernor(t, Options{LoginFailures: Rate{10, time.Minute}, Logins: Rate{60, time.Hour}})
	for i := range 200 {
		logIn(t, g, owner, fmt.Sprint("bot ", i)).Settle(errBusy, errWrong)
	}
	for i := range 60 {
		logIn(t, g, owner, fmt.Sprint("bot ", i)).Settle(nil, errWrong)
	}
	if _, err := g.Login(t.Context(), owner, "another", false); !errors.Is(err, ErrLimited) {
		t.Errorf("a login over the limit: %v", err)
	}
}
