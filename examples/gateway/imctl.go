package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// server is imctl, as a program with the role gateway sees it.
type server struct {
	nc       *nats.Conn
	prefix   string // of the gateway's subjects
	deliver  func(user, with string, d dialogue) error
	accepted func(user, friend string)

	order sync.Mutex // held while dialogues are delivered: what was missed comes before what arrives

	mu      sync.Mutex // guards the fields below
	session string
	lease   time.Duration
	users   map[string]bool // that are online
}

// timeout is how long the gateway waits for an answer.
const timeout = 20 * time.Second

// dialogue is a dialogue to a user of the gateway. N is 0 on a server that keeps no conversations.
type dialogue struct {
	ID, From, Payload string
	N                 uint64
}

// answer is the answer of a call.
type answer struct {
	Code                 int
	OK                   bool
	Message, ID, Session string
	Lease                int
}

// connect connects with a NATS context, and passes dialogues to deliver and accepted friend requests to accepted.
func (s *server) connect(file string, deliver func(user, with string, d dialogue) error, accepted func(user, friend string)) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c struct {
		URL, User, Password, CA string
		InboxPrefix             string `json:"inbox_prefix"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	options := []nats.Option{nats.UserInfo(c.User, c.Password), nats.CustomInboxPrefix(c.InboxPrefix), nats.MaxReconnects(-1)}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	if s.nc, err = nats.Connect(c.URL, options...); err != nil {
		return err
	}
	s.prefix, s.deliver, s.accepted, s.users = "im.gateway."+c.User+".", deliver, accepted, make(map[string]bool)
	if _, err = s.nc.Subscribe(s.prefix+"dialogue.*", s.dialogue); err == nil {
		_, err = s.nc.Subscribe(s.prefix+"notice.*", s.notice)
	}
	return err
}

// dialogue takes a dialogue. Its empty answer acknowledges it.
func (s *server) dialogue(m *nats.Msg) {
	var d dialogue
	if json.Unmarshal(m.Data, &d) == nil && d.From != "" { // without a sender it asks whether the gateway is here
		s.order.Lock()
		defer s.order.Unlock()
		if err := s.deliver(strings.TrimPrefix(m.Subject, s.prefix+"dialogue."), d.From, d); err != nil {
			log.Print(err)
			m.Respond([]byte(`{"code":507}`)) // the sender may send it again, or it is kept
			return
		}
	}
	m.Respond(nil)
}

// notice takes the news of a user.
func (s *server) notice(m *nats.Msg) {
	var n struct {
		Code   int
		Friend struct{ ID string }
	}
	if json.Unmarshal(m.Data, &n) == nil && n.Code == 524 { // a friend request was accepted
		s.accepted(strings.TrimPrefix(m.Subject, s.prefix+"notice."), n.Friend.ID)
	}
}

// ask makes a call of the gateway.
func (s *server) ask(subject string, fields, a any) error {
	body, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	m, err := s.nc.Request(s.prefix+subject, body, timeout)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	return json.Unmarshal(m.Data, a)
}

// askOK makes a call of the gateway whose refusal is an error.
func (s *server) askOK(subject string, fields any, a *answer) error {
	err := s.ask(subject, fields, a)
	if err == nil && !a.OK {
		err = fmt.Errorf("%s: %d %s", subject, a.Code, a.Message)
	}
	return err
}

// register returns the id of a user of the gateway, which it creates if it does not exist.
func (s *server) register(account, name string) (string, error) {
	var a answer
	err := s.askOK("register", map[string]string{"account": account, "name": name}, &a)
	return a.ID, err
}

// call makes a call of a user.
func (s *server) call(user, name string, fields, a any) error {
	return s.ask("call."+user+"."+name, fields, a)
}

// person returns the id of the user with an account, "" for none.
func (s *server) person(user, account string) (string, error) {
	var found struct {
		People []struct{ ID, Account string }
	}
	err := s.call(user, "people", map[string]string{"q": account}, &found)
	for _, p := range found.People {
		if strings.EqualFold(p.Account, account) {
			return p.ID, err
		}
	}
	return "", err
}

// send sends a dialogue of a user. An error means that it should be sent again.
func (s *server) send(user, id, to, payload string) (a answer, err error) {
	err = s.ask("send."+user, map[string]string{"id": id, "toFriend": to, "payload": payload}, &a)
	if err == nil && (a.Code == 500 || a.Code == 507) {
		err = fmt.Errorf("send: %d %s", a.Code, a.Message)
	}
	return a, err
}

// online brings users online, and then delivers what they have missed.
func (s *server) online(users ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, user := range users {
		s.users[user] = true
	}
	if s.session == "" {
		var a answer
		if err := s.askOK("open", struct{}{}, &a); err != nil {
			return err
		}
		s.session, s.lease, users = a.Session, time.Duration(a.Lease)*time.Second, nil
		for user := range s.users {
			users = append(users, user)
		}
	}
	s.order.Lock()
	defer s.order.Unlock()
	for begin := 0; begin < max(len(users), 1); begin += 1000 { // a call may have 1,000
		part := users[begin:min(begin+1000, len(users))]
		var a answer
		if err := s.askOK("online."+s.session, map[string][]string{"users": part}, &a); err != nil {
			s.session = ""
			if a.Code == 513 {
				log.Fatal("another program uses the credentials of this one")
			}
			return err
		}
	}
	for _, user := range users {
		if err := s.catchUp(user); err != nil {
			return err
		}
	}
	return nil
}

// renew renews the session, and opens another one when it has ended.
func (s *server) renew() {
	for {
		s.mu.Lock()
		pause := max(s.lease/3, time.Second)
		s.mu.Unlock()
		time.Sleep(pause)
		if err := s.online(); err != nil {
			log.Print(err)
		}
	}
}

// catchUp delivers the kept dialogues to a user that it has not acknowledged.
func (s *server) catchUp(user string) error {
	var all struct {
		Talks []struct {
			With      string
			Last, Got uint64
		}
	}
	if err := s.call(user, "talks", struct{}{}, &all); err != nil {
		return err
	}
	for _, t := range all.Talks {
		for t.Got < t.Last {
			var page struct{ Dialogues []dialogue }
			if err := s.call(user, "dialogues", map[string]any{"with": t.With, "after": t.Got}, &page); err != nil {
				return err
			}
			if len(page.Dialogues) == 0 {
				break
			}
			for _, d := range page.Dialogues {
				if err := s.deliver(user, t.With, d); err != nil {
					return err
				}
				t.Got = d.N
			}
			if err := s.call(user, "got", map[string]any{"with": t.With, "got": t.Got}, new(answer)); err != nil {
				return err
			}
		}
	}
	return nil
}
