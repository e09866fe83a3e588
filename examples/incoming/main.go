// Command incoming turns HTTP requests into dialogues, as incoming webhooks of other messengers do. It is a service:
//
//	imctl attach add alerts --role service --user alerts --befriend --context alerts.json
//	go run ./examples/incoming alerts.json hooks.json 127.0.0.1:9000
//	curl -d '{"text":"Deployed"}' http://127.0.0.1:9000/hooks/TOKEN
//
// hooks.json has the account that each secret token sends to: {"TOKEN": "ada"}.
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"
)

const (
	timeout  = 10 * time.Second // for an answer of the server
	tries    = 3                // of a dialogue that is not answered; its id keeps it from being stored twice
	maxBytes = 32 << 10         // of a request
)

// answer is what the program uses of the server's answers.
type answer struct {
	Code    int
	Message string
	User    struct{ ID string }
}

// service is the user that the program is.
type service struct {
	nc       *nats.Conn
	name, id string
	accounts map[[sha256.Size]byte]string // by the hash of the token, so that the time of a look-up tells nothing about it
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: incoming CONTEXT.json HOOKS.json ADDRESS")
	}
	file, err := filepath.Abs(os.Args[1])
	must(err)
	nc, settings, err := natscontext.Connect(file, nats.MaxReconnects(-1))
	must(err)
	s := &service{nc: nc, name: settings.User, accounts: make(map[[sha256.Size]byte]string)}
	hooks := make(map[string]string)
	text, err := os.ReadFile(os.Args[2])
	must(err)
	must(json.Unmarshal(text, &hooks))
	for token, account := range hooks {
		s.accounts[sha256.Sum256([]byte(token))] = account
	}
	self, err := s.ask("im.service."+s.name+".self", nil)
	must(err)
	s.id = self.User.ID
	http.HandleFunc("POST /hooks/{token}", s.receive)
	server := &http.Server{Addr: os.Args[3], ReadTimeout: timeout, WriteTimeout: time.Minute}
	log.Printf("listening on http://%s", os.Args[3])
	log.Fatal(server.ListenAndServe())
}

// receive sends the text of a request to the user of its token.
func (s *service) receive(w http.ResponseWriter, r *http.Request) {
	account, known := s.accounts[sha256.Sum256([]byte(r.PathValue("token")))]
	if !known {
		http.NotFound(w, r)
		return
	}
	var body struct{ Text string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBytes)).Decode(&body); err != nil || body.Text == "" {
		http.Error(w, `send {"text": "…"}`, http.StatusBadRequest)
		return
	}
	if err := s.send(account, body.Text); err != nil {
		log.Printf("to %s: %v", account, err)
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintln(w, "ok")
}

// send sends a dialogue to the user with an account. It becomes the user's friend before, which changes nothing if it
// is. A user that has removed or blocked it stays left alone: the server then answers 512.
func (s *service) send(account, text string) error {
	to, err := s.ask("im.read."+s.name+".user", map[string]string{"account": account})
	if err != nil {
		return fmt.Errorf("look up the account: %w", err)
	}
	if _, err := s.ask("im.service."+s.name+".befriend", map[string]string{"id": to.User.ID}); err != nil {
		return fmt.Errorf("befriend: %w", err)
	}
	dialogue := map[string]string{"id": rand.Text(), "toFriend": to.User.ID, "payload": text}
	for range tries {
		if _, err = s.ask("im.send."+s.id, dialogue); !errors.Is(err, nats.ErrTimeout) {
			break
		}
	}
	return err
}

// ask sends a request. An answer with a code of 400 or more is an error.
func (s *service) ask(subject string, request any) (a answer, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	m, err := s.nc.Request(subject, body, timeout)
	if err == nil {
		err = json.Unmarshal(m.Data, &a)
	}
	if err == nil && a.Code >= 400 {
		err = fmt.Errorf("%d %s", a.Code, a.Message)
	}
	return a, err
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
