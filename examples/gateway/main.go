// Command gateway joins imctl and a Matrix homeserver, as an application service of the homeserver and with the role
// gateway of imctl. A Matrix user that invites @imctl_ben:<domain> to a room asks the imctl user ben for friendship. What
// is written in the room afterwards are the dialogues of the two.
//
//	gateway -context matrix.json -homeserver http://127.0.0.1:8008 -listen 127.0.0.1:9008
//
// The tokens of the application service are in AS_TOKEN and HS_TOKEN. The rooms are in the file of -rooms.
package main

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
)

// ghosts is what the local parts of Matrix users begin with that stand for imctl users, and accounts what the accounts of
// imctl users begin with that stand for Matrix users.
const (
	ghosts   = "imctl_"
	accounts = "matrix_"
)

// room is a conversation: of a Matrix user, which is User in imctl, with the imctl user Friend, which is Ghost on Matrix.
type room struct{ ID, User, Friend, Ghost string }

type gateway struct {
	*server
	homeserver, domain, file string

	mu    sync.Mutex
	rooms []room
}

func main() {
	g := &gateway{server: new(server)}
	context, listen := flag.String("context", "matrix.json", "NATS context of imctl attach add"), flag.String("listen", "127.0.0.1:9008", "address for the homeserver")
	flag.StringVar(&g.homeserver, "homeserver", "http://127.0.0.1:8008", "URL of the homeserver")
	flag.StringVar(&g.domain, "domain", "localhost", "domain of the Matrix users")
	flag.StringVar(&g.file, "rooms", "rooms.json", "file with the rooms")
	flag.Parse()
	if b, err := os.ReadFile(g.file); err == nil {
		must(json.Unmarshal(b, &g.rooms))
	} else if !errors.Is(err, os.ErrNotExist) {
		log.Fatal(err)
	}
	must(g.connect(*context, g.toMatrix, g.befriended))
	users := make([]string, len(g.rooms))
	for i, r := range g.rooms {
		users[i] = r.User
	}
	must(g.online(users...))
	go g.renew()
	http.HandleFunc("PUT /_matrix/app/v1/transactions/{id}", g.transaction)
	log.Fatal(http.ListenAndServe(*listen, nil))
}

// find returns the first room for which is holds, and "" for its id if there is none.
func (g *gateway) find(is func(room) bool) room {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.rooms {
		if is(r) {
			return r
		}
	}
	return room{}
}

// event is a part of a transaction of the homeserver.
type event struct {
	Type     string `json:"type"`
	ID       string `json:"event_id"`
	Room     string `json:"room_id"`
	Sender   string `json:"sender"`
	StateKey string `json:"state_key"`
	Content  struct{ Membership, Body string }
}

// transaction takes events from the homeserver. It answers 502 if the homeserver has to send them again: dialogues carry
// the id of their event, so imctl stores none twice.
func (g *gateway) transaction(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(token), []byte(os.Getenv("HS_TOKEN"))) != 1 {
		http.Error(w, `{"errcode":"M_FORBIDDEN"}`, http.StatusForbidden)
		return
	}
	var transaction struct{ Events []event }
	if err := json.NewDecoder(r.Body).Decode(&transaction); err != nil {
		http.Error(w, `{"errcode":"M_NOT_JSON"}`, http.StatusBadRequest)
		return
	}
	for _, e := range transaction.Events {
		if err := g.fromMatrix(e); err != nil {
			log.Printf("event %s: %v", e.ID, err)
			http.Error(w, `{"errcode":"M_UNKNOWN"}`, http.StatusBadGateway)
			return
		}
	}
	fmt.Fprint(w, `{}`)
}

// local returns the local part of a Matrix user of the domain: "ada" for "@ada:localhost".
func (g *gateway) local(user string) string {
	name, domain, _ := strings.Cut(strings.TrimPrefix(user, "@"), ":")
	if domain != g.domain {
		return ""
	}
	return name
}

func (g *gateway) fromMatrix(e event) error {
	sender := g.local(e.Sender)
	ghost, isGhost := strings.CutPrefix(g.local(e.StateKey), ghosts)
	switch {
	case sender == "" || strings.HasPrefix(sender, ghosts):
		return nil // of another homeserver, or by this program
	case e.Type == "m.room.member" && e.Content.Membership == "invite" && isGhost:
		return g.invited(e, sender, ghost)
	case e.Type != "m.room.message":
		return nil
	}
	r := g.find(func(r room) bool { return r.ID == e.Room })
	if r.ID == "" {
		return nil
	}
	a, err := g.send(r.User, e.ID, r.Friend, e.Content.Body)
	if err == nil && !a.OK {
		return g.post(r, e.ID+"-refused", "Not sent: "+a.Message)
	}
	return err
}

// invited makes a ghost join a room, and asks its user for friendship.
func (g *gateway) invited(e event, sender, account string) error {
	user, err := g.register(accounts+sender, sender)
	if err != nil {
		return err
	}
	friend, err := g.person(user, account)
	if err != nil {
		return err
	}
	r := room{ID: e.Room, User: user, Friend: friend, Ghost: e.StateKey}
	if err := g.matrix("POST", "/register", "", map[string]string{"type": "m.login.application_service", "username": g.local(r.Ghost)}); err != nil {
		return err
	}
	if err := g.matrix("POST", "/rooms/"+url.PathEscape(r.ID)+"/join", r.Ghost, struct{}{}); err != nil {
		return err
	}
	if friend == "" {
		return g.post(r, e.ID, "There is no user "+account)
	}
	g.mu.Lock()
	if !slices.Contains(g.rooms, r) {
		g.rooms = append(g.rooms, r)
	}
	b, err := json.Marshal(g.rooms)
	if err == nil {
		err = os.WriteFile(g.file, b, 0o600)
	}
	g.mu.Unlock()
	if err != nil {
		return err
	}
	if err := g.online(user); err != nil {
		return err
	}
	return g.call(user, "request", map[string]string{"to": friend, "note": "I am " + e.Sender}, new(answer))
}

// toMatrix writes a dialogue into its room. The id of the transaction follows from the dialogue, so the homeserver shows
// none twice.
func (g *gateway) toMatrix(user, with string, d dialogue) error {
	r := g.find(func(r room) bool { return r.User == user && r.Friend == with })
	if r.ID == "" || d.From != with {
		return nil
	}
	return g.post(r, fmt.Sprint(user, "-", with, "-", d.N, "-", d.ID), d.Payload)
}

// befriended tells a Matrix user that a friend has accepted.
func (g *gateway) befriended(user, friend string) {
	r := g.find(func(r room) bool { return r.User == user && r.Friend == friend })
	if err := g.post(r, "accepted-"+user+"-"+friend, "You can write to me now."); err != nil {
		log.Print(err)
	}
}

func (g *gateway) post(r room, transaction, body string) error {
	path := "/rooms/" + url.PathEscape(r.ID) + "/send/m.room.message/" + url.PathEscape(transaction)
	return g.matrix("PUT", path, r.Ghost, map[string]string{"msgtype": "m.text", "body": body})
}

// matrix makes a call of the client-server API as a ghost, "" for the application service itself.
func (g *gateway) matrix(method, path, as string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(method, g.homeserver+"/_matrix/client/v3"+path+"?user_id="+url.QueryEscape(as), bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+os.Getenv("AS_TOKEN"))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var failed struct{ Errcode string }
	if response.StatusCode != http.StatusOK && (json.NewDecoder(response.Body).Decode(&failed) != nil || failed.Errcode != "M_USER_IN_USE") {
		return fmt.Errorf("%s %s: %s %s", method, path, response.Status, failed.Errcode)
	}
	return nil
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
