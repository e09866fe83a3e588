package cmd

import "testing"

// TestStrangersWhileUnmade checks that after an answer that two users are not friends, dialogues are refused in both
// directions on every node, even if the node that ended the friendship has not notified the other nodes yet.
func TestStrangersWhileUnmade(t *testing.T) {
	t.Parallel()
	all := startBridges(t, 2)
	w := newWorld(t, all)
	rosters := all[0].app.backend.store.Rosters
	for name, x := range map[string]struct {
		asks   bool // the friend asks again after the end of the friendship
		call   string
		fields []string
		want   int
	}{
		"remove":                {false, "remove", []string{"to"}, 512},
		"remove of a request":   {true, "remove", []string{"to"}, 512},
		"add without a request": {false, "add", []string{"name", "B", "from"}, 523},
		"friendship made anew":  {true, "add", []string{"name", "B", "from"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := w.newFriends(t)
			for from, to := range map[*member]*member{a: b, b: a} {
				if code := from.talk(t, to, "before"); code != 200 {
					t.Fatalf("dialogue between friends: got code %d, want 200", code)
				}
				to.tunnel.want(t, dialogueFrame(`"before"`, from.id, `"hello"`))
			}
			_, err := rosters.Remove(t.Context(), b.id, a.id)
			if err == nil && x.asks {
				_, err = rosters.Request(t.Context(), b.id, a.id, "")
			}
			if err != nil {
				t.Fatal(err)
			}
			a.call(t, x.call, append(x.fields, b.id)...).want(t, name, replyBody(x.want))
			holds(t, a, b, name, x.call == "add" && x.want == 200)
		})
	}
}
