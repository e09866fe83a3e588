package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"
)

// forget hides a conversation from a user.
func (x *modelRun) forget(u, with *modelUser) {
	x.note("%s: forget %s", u.account, with.account)
	r := x.w.do(x.t, u.n, http.MethodPost, "/im/dialogues/remove", fmt.Sprintf(`{"id":"%s","token":"%s","with":"%s"}`, u.id, u.token, with.id))
	r.want(x.t, "forget", replyBody(200))
	m := u.talks[with]
	m.forget(u.place[m])
}

// page compares a part of a conversation.
func (x *modelRun) page(u, with *modelUser) {
	m := u.talks[with]
	limit, before, after := 1+x.rand.Uint64N(200), uint64(0), uint64(0)
	pairs := []string{"id", u.id, "token", u.token, "with", with.id, "limit", strconv.FormatUint(limit, 10)}
	switch n := 1 + x.rand.Uint64N(m.last()+3); x.rand.IntN(3) {
	case 0:
		before = n
		pairs = append(pairs, "before", strconv.FormatUint(n, 10))
	case 1:
		after = n
		pairs = append(pairs, "after", strconv.FormatUint(n, 10))
	}
	r := x.w.do(x.t, u.n, http.MethodGet, "/im/dialogues?"+query(pairs...), "")
	var got keepPage
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		x.t.Fatal(err)
	}
	x.note("%s: page with %s before %d after %d limit %d", u.account, with.account, before, after, limit)
	want := m.page(u.place[m], before, after, limit)
	if reflect.DeepEqual(got, want) {
		return
	}
	for i := range min(len(got.Dialogues), len(want.Dialogues)) {
		if got.Dialogues[i] != want.Dialogues[i] {
			x.t.Fatalf("in place %d:\n got %+v\nwant %+v", i, got.Dialogues[i], want.Dialogues[i])
		}
	}
	x.t.Fatalf("got %d dialogues of %d to %d, want %d of %d to %d", len(got.Dialogues), got.First, got.Last, len(want.Dialogues), want.First, want.Last)
}

// settled waits until a login shows a user the conversations of the model.
func (x *modelRun) settled(u *modelUser) {
	x.t.Helper()
	var want []keepTalk
	models := make(map[string]*keptModel)
	for other, m := range u.talks {
		if k, ok := m.talk(u.place[m]); ok {
			want, models[other.id] = append(want, k), m
		}
	}
	for deadline := time.Now().Add(waitTimeout / 3); ; {
		c := x.w.dial(x.t, u.n, "/im/login?"+query("account", u.account, "password", u.password, "keep", "1"))
		f := c.nextKeep(x.t)
		x.w.secret(f.Token)
		c.close(x.t)
		right := len(f.Talks) == len(want)
		for _, k := range f.Talks {
			m := models[k.With]
			right = right && m != nil && m.shows(u.place[m], k)
		}
		if right {
			return
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("talks of %s:\n got %s\nwant %s", u.account, asJSON(f.Talks), asJSON(want))
		}
	}
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
