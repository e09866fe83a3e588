//go:build unix

package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/eventlog"
	"imctl/kv"
)

// upgrade is a single server that alternates between the last release and this version, on one data directory.
type upgrade struct {
	*world
	site     *site
	old      string
	dir      string // above the data directory
	people   [][2]*keepPerson
	contexts []string // files of attachments
	live     [2]*keepPerson
}

// testUpgrade has each version go on with what the other one has stored, twice.
func testUpgrade(t *testing.T, old string) {
	s := &site{nodes: make([]*process, 1)}
	logOnFailure(t, &s.log)
	u := &upgrade{site: s, old: old, dir: t.TempDir()}
	listen := "IMCTL_NATS_LISTEN=" + reservePorts(t, 1)[0] // for the context files
	for stage, program := range []string{old, "imctl", old, "imctl"} {
		s.start(t, 0, program, u.data(), listen)
		if u.world == nil {
			u.world = newWorld(t, s)
		}
		u.read(t, program)
		u.write(t, stage, program)
		if program == "imctl" && u.live[0] == nil {
			u.writeNew(t)
			u.read(t, program)
		} else if u.live[0] != nil {
			u.detached(t, program)
		}
		if stage == 3 {
			u.backUp(t)
			u.close(t)
		}
		s.nodes[0].stop(t)
		for _, checker := range []string{old, "imctl"} {
			runProgram(t, checker, "check", "--data", u.data())
		}
	}
}

func (u *upgrade) data() string { return filepath.Join(u.dir, "data") }

// read checks what earlier stages have stored.
func (u *upgrade) read(t *testing.T, program string) {
	t.Helper()
	by := "read by " + versionOf(program)
	for _, two := range u.people {
		for i, p := range two {
			token := p.token
			c, talks := p.openKeep(t, 0)
			if len(talks) != 1 || talks[0].Last != 2 || talks[0].With != p.friend.id || i == 1 && talks[0].Read != 1 {
				t.Errorf("conversations of %s, %s: %+v", p.account, by, talks)
			}
			c.close(t)
			page := u.history(t, p, token)
			if len(page.Dialogues) != 2 || page.Dialogues[0].Payload != "1" || page.Dialogues[1].Payload != "2" || page.Dialogues[1].N != 2 {
				t.Errorf("history of %s, %s: %+v", p.account, by, page)
			}
			plain, answer := p.openTunnel(t)
			if len(answer.Friends) != 1 || answer.Friends[0].ID != p.friend.id {
				t.Errorf("friends of %s, %s: %+v", p.account, by, answer.Friends)
			}
			plain.ws.Close()
		}
	}
	listed := runProgram(t, program, "attach", "list", "--data", u.data())
	for _, file := range u.contexts {
		connectByContext(t, file).Close()
		if name := strings.TrimSuffix(filepath.Base(file), ".json"); !strings.Contains(listed, name) {
			t.Errorf("attachment %s is missing, %s: %s", name, by, listed)
		}
	}
	if u.live[0] == nil {
		return
	}
	page := u.history(t, u.live[0], u.live[0].token)
	if len(page.Dialogues) != 3 {
		t.Fatalf("history with a dialogue that was delivered before it was stored, %s: %+v", by, page)
	}
	for i, d := range page.Dialogues {
		want := uint64(0)
		if i == 1 && program == u.old {
			want = d.N // what this version stores for it looks like a reply to itself
		}
		if d.N != uint64(i+1) || d.Payload != fmt.Sprint("live ", i+1) || d.Re != want {
			t.Errorf("dialogue %d, %s: %+v", i+1, by, d)
		}
	}
}

// history reads the conversation of a person with its friend, with a token.
func (u *upgrade) history(t *testing.T, p *keepPerson, token string) (page keepPage) {
	t.Helper()
	r := u.do(t, 0, http.MethodGet, "/im/dialogues?"+query("id", p.id, "token", token, "with", p.friend.id, "after", "0", "limit", "10"), "")
	if err := json.Unmarshal([]byte(r.body), &page); err != nil || page.Code != 200 {
		t.Fatalf("history: %s, %v", r.body, err)
	}
	return page
}

// write stores records of a stage.
func (u *upgrade) write(t *testing.T, stage int, program string) {
	t.Helper()
	two := u.newKeepPersons(t)
	a, b := two[0], two[1]
	from, _ := a.openKeep(t, 0)
	to, _ := b.openKeep(t, 0)
	for n := 1; n <= 2; n++ {
		id := fmt.Sprint("k", n)
		from.send(t, dialogue(`"`+id+`"`, b.id, fmt.Sprintf(`"%d"`, n)))
		if f := from.nextKept(t, id); f.Code != 202 {
			t.Fatalf("dialogue: %+v", f)
		}
	}
	to.send(t, `{"read":1,"with":"`+a.id+`"}`)
	for from.nextKeep(t).Code != 304 {
	}
	from.close(t)
	to.close(t)
	u.people = append(u.people, two)
	file := filepath.Join(u.dir, fmt.Sprint("archive", stage, ".json"))
	runProgram(t, program, "attach", "add", fmt.Sprint("archive", stage), "--role", "consumer", "--filter", "dialogue.>", "--context", file, "--data", u.data())
	u.contexts = append(u.contexts, file)
}

// writeNew stores records that the last release does not know: a dialogue that was delivered before it was stored, a
// detached attachment, and the registration of a node that has crashed.
func (u *upgrade) writeNew(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	nc := connectByContext(t, filepath.Join(u.data(), "admin.json"))
	store, err := kv.Open(ctx, nc, kv.Options{Talks: &kv.TalksOptions{MaxAge: 30 * 24 * time.Hour, MaxBytes: 10 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	u.live = u.newKeepPersons(t)
	a, b := u.live[0], u.live[1]
	var dialogues []kv.Dialogue
	for n := uint64(1); n <= 3; n++ {
		dialogues = append(dialogues, kv.Dialogue{N: n, From: a.id, ID: fmt.Appendf(nil, `"%d"`, n), Payload: fmt.Appendf(nil, `"live %d"`, n), At: time.Now(), Kept: n != 2, Live: n == 2})
	}
	if n, err := store.Talks.Import(ctx, kv.PairOf(a.id, b.id), dialogues); err != nil || n != 3 {
		t.Fatalf("stored %d dialogues, %v", n, err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	consumers := eventlog.NewConsumers(js, "im")
	const name = detachedName
	u.contexts = u.contexts[:1] // a login of the program would resume the attachment
	for range 2 {
		if _, err := store.Attachments.Observe(ctx, name, kv.Observation{Limit: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	if at, done, err := store.Attachments.Detach(ctx, name, 1, 7); err != nil || !done || !at.IsDetached() {
		t.Fatalf("detach: %+v, %t, %v", at, done, err)
	}
	if err := store.States.Forget(ctx, consumers.Mark(name)); err != nil {
		t.Fatal(err)
	}
	if err := consumers.Remove(ctx, name); err != nil {
		t.Fatal(err)
	}
	if err := store.Nodes.Register(ctx, kv.Node{ID: "crashed", Started: time.Now().UTC(), Protocol: 2}); err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

// detachedName is the attachment that writeNew detaches: that of the second stage.
const detachedName = "archive1"

// detached checks the consumer of the detached attachment. The last release creates it at its start, and this version
// removes it again.
func (u *upgrade) detached(t *testing.T, program string) {
	t.Helper()
	js, err := jetstream.New(connectByContext(t, filepath.Join(u.data(), "admin.json")))
	if err != nil {
		t.Fatal(err)
	}
	exists := func() bool {
		_, err := js.Consumer(t.Context(), "IM_LOG", detachedName)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	if program == u.old {
		if !exists() {
			t.Error("the last release has no consumer for a detached attachment")
		}
		return
	}
	eventually(t, "the consumer of a detached attachment is removed", func() bool { return !exists() })
	command(t, u.dir, "", "attach", "list", "--data", u.data()).want(t, exitDone, "detached")
}

// backUp backs the server up with each version, and restores each backup with the other one.
func (u *upgrade) backUp(t *testing.T) {
	t.Helper()
	for i, programs := range [][2]string{{u.old, "imctl"}, {"imctl", u.old}} {
		file, data := filepath.Join(u.dir, fmt.Sprint("backup", i, ".tar")), filepath.Join(u.dir, fmt.Sprint("restored", i))
		runProgram(t, programs[0], "backup", file, "--data", u.data())
		runProgram(t, programs[1], "restore", file, "--data", data)
		for _, program := range programs {
			runProgram(t, program, "check", "--data", data)
		}
	}
}
