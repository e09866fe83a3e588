package cmd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// operation is one operation of a history, on an account or on two users.
type operation struct {
	about string
	call  string
	who   int // which of the two users makes the call
	id    int // id of an add or remove; the opSettled of that call has the same id
}

// Operations other than calls.
const (
	opTalk    = "dialogue"
	opList    = "list"    // the lists of friends and requests in the answer to a login
	opSettled = "settled" // the call with this id was answered, so no node holds an older state
)

// outcome is the answer to an operation.
type outcome struct {
	code          int // 0 without an answer, or if the answer does not tell whether the call took effect
	friend, asked bool
}

// relation is the state of an account, or of two users.
type relation struct {
	exists  bool
	friends bool
	asked   [2]bool // which user has a pending request
	named   [2]bool // which user has set an alias

	// held lists the states of the friendship that nodes may hold: the state after each call since the last answered
	// call, as + or - and the id of the call, in the order of the calls.
	held string
}

// consistency is the model of valid histories. Calls take effect one by one. The answer to a dialogue depends on the
// state that its node holds: the state after the last answered call, or after a call in progress.
var consistency = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var parts [][]porcupine.Operation
		places := make(map[string]int)
		for _, o := range history {
			about := o.Input.(operation).about
			i, ok := places[about]
			if !ok {
				i = len(parts)
				places[about], parts = i, append(parts, nil)
			}
			parts[i] = append(parts[i], o)
		}
		return parts
	},
	Init: func() any { return relation{held: "-0 "} },
	Step: func(state, input, output any) (bool, any) {
		r := state.(relation)
		ok := r.step(input.(operation), output.(outcome))
		return ok, r
	},
	DescribeOperation: func(input, output any) string { return describe(input.(operation), output.(outcome)) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
}

func describe(in operation, out outcome) string {
	return fmt.Sprintf("%s: %s by %d, id %d: %+v", in.about, in.call, in.who, in.id, out)
}

// step applies an operation to the state. It returns false if the outcome is not valid in this state.
func (r *relation) step(in operation, out outcome) bool {
	is := func(code int) bool { return out.code == code || out.code == 0 }
	me, other, id := in.who, 1-in.who, in.id
	if out.code == 0 {
		id = unanswered
	}
	switch in.call {
	case "register":
		if r.exists {
			return is(504)
		}
		r.exists = true
		return is(200)
	case "login":
		return r.exists == (out.code == 200)
	case "request":
		if r.friends {
			r.hold(id)
			return is(522)
		}
		r.asked[me] = true
		return is(200)
	case "add":
		return is(r.add(me, other, id))
	case "remove":
		code := 512
		if r.friends {
			code = 200
		}
		r.friends, r.asked, r.named = false, [2]bool{}, [2]bool{}
		r.hold(id)
		return is(code)
	case opSettled:
		return r.settle(in.id)
	case opTalk:
		return strings.Contains(r.held, map[bool]string{true: "-", false: "+"}[out.code == 512])
	case opList:
		return out.friend == r.friends && out.asked == r.asked[other]
	}
	return false
}

func (r *relation) add(me, other, id int) (code int) {
	defer func() { r.hold(id) }()
	switch {
	case r.friends && r.named[me]:
		return 522
	case r.friends:
		r.named[me] = true
		return 200
	case !r.asked[other]:
		return 523
	}
	r.friends, r.asked = true, [2]bool{}
	r.named[me], r.named[other] = true, false
	return 200
}

// hold adds the current state to the states that nodes may hold.
func (r *relation) hold(id int) {
	r.held += fmt.Sprintf("%s%d ", map[bool]string{true: "+", false: "-"}[r.friends], id)
}

// unanswered is the id of calls without an opSettled.
const unanswered = 0

// settle removes the states that are older than the call id. An older call that is not settled yet leaves an entry
// with * and its id. settle returns false if the call has not taken effect yet.
func (r *relation) settle(id int) bool {
	all := strings.Fields(r.held)
	i := slices.IndexFunc(all, func(s string) bool { return s[1:] == fmt.Sprint(id) })
	if i < 0 {
		return false
	}
	var left strings.Builder
	for k, held := range all {
		switch {
		case k < i && held[1:] != fmt.Sprint(unanswered):
			held = "*" + held[1:]
		case k < i || k == i && held[0] == '*': // a later call was settled before this one
			continue
		}
		left.WriteString(held + " ")
	}
	r.held = left.String()
	return true
}

// TestConsistencyModel checks that the model accepts exactly the histories that the protocol allows.
func TestConsistencyModel(t *testing.T) {
	t.Parallel()
	// A row is begin, end, call, user and code. An end of 0 means that there is no answer.
	type row struct {
		begin, end int64
		call       string
		who, code  int
	}
	friends := []row{{1, 2, "request", 0, 200}, {3, 4, "add", 1, 200}}
	for name, x := range map[string]struct {
		rows []row
		want bool
	}{
		"friends talk":                           {[]row{{5, 6, opTalk, 0, 200}, {7, 8, opTalk, 1, 508}}, true},
		"friends are refused":                    {[]row{{5, 6, opTalk, 1, 512}}, false},
		"strangers talk":                         {[]row{{5, 6, "remove", 0, 200}, {7, 8, opTalk, 0, 200}}, false},
		"two nodes during a remove":              {[]row{{5, 20, "remove", 0, 200}, {6, 7, opTalk, 0, 512}, {8, 9, opTalk, 1, 200}, {21, 22, opTalk, 1, 512}}, true},
		"an old answer after the remove":         {[]row{{5, 20, "remove", 0, 200}, {21, 22, opTalk, 1, 200}}, false},
		"a second remove before the first's end": {[]row{{5, 20, "remove", 0, 200}, {6, 7, "remove", 1, 512}, {8, 9, opTalk, 1, 200}}, false},
		"a dialogue during a second remove":      {[]row{{5, 20, "remove", 0, 200}, {6, 9, "remove", 1, 512}, {7, 8, opTalk, 1, 200}}, true},
		"an unanswered remove":                   {[]row{{5, 0, "remove", 0, 0}, {6, 7, opTalk, 1, 200}, {8, 9, opTalk, 1, 512}, {10, 11, opTalk, 1, 200}}, true},
		"an unanswered remove that took effect":  {[]row{{5, 0, "remove", 0, 0}, {6, 7, "remove", 1, 512}, {8, 9, opTalk, 1, 200}}, false},
		"an unanswered remove without effect":    {[]row{{5, 0, "remove", 0, 0}, {6, 7, "remove", 1, 200}, {8, 9, "remove", 1, 512}}, true},
		"two removes that end one friendship":    {[]row{{5, 8, "remove", 0, 200}, {6, 7, "remove", 1, 200}}, false},
		"named twice":                            {[]row{{5, 6, "add", 1, 200}}, false},
		"named by the requester":                 {[]row{{5, 6, "add", 0, 200}, {7, 8, "add", 0, 522}}, true},
		"an old call with a late answer":         {[]row{{5, 30, "remove", 0, 512}, {6, 7, "remove", 1, 200}, {8, 9, "request", 1, 200}, {10, 11, "add", 0, 200}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h history
			for i, r := range append(slices.Clone(friends), x.rows...) {
				h.record(operation{about: "pair", call: r.call, who: r.who, id: i + 1}, outcome{code: r.code}, r.begin, r.end)
			}
			if got := porcupine.CheckOperations(consistency, h.complete()); got != x.want {
				t.Errorf("valid: %t, want %t", got, x.want)
			}
		})
	}
	var h history
	for i, code := range []int{200, 504, 504} {
		h.record(operation{about: "account", call: "register"}, outcome{code: code}, int64(10*i), int64(10*i+15))
	}
	h.record(operation{about: "account", call: "login"}, outcome{code: 200}, 40, 41)
	if !porcupine.CheckOperations(consistency, h.complete()) {
		t.Error("the model rejects one successful registration of three")
	}
	h.record(operation{about: "account", call: "login"}, outcome{code: 505}, 42, 43)
	if porcupine.CheckOperations(consistency, h.complete()) {
		t.Error("the model accepts that an account disappears")
	}
}
