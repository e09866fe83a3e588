// Command echo is a bot that accepts every friend request and echoes every dialogue. It uses an ordinary account and is
// an ordinary NATS client:
//
//	IM_ID=… IM_ACCOUNT=echo IM_PASSWORD=… go run ./examples/echo
//
// On a server that keeps conversations it also answers what it has missed while it was away.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/nats-io/nats.go"
)

// timeout is how long the bot waits for an answer of the server.
const timeout = 10 * time.Second

type bot struct {
	nc *nats.Conn
	id string
}

// dialogue is a dialogue that the bot receives or reads. N is 0 on a server that keeps no conversations.
type dialogue struct {
	ID, From, Payload      string
	N                      uint64
	Reacts, Edits, Deletes uint64
}

func main() {
	url, id := os.Getenv("IM_NATS"), os.Getenv("IM_ID")
	if url == "" {
		url = nats.DefaultURL
	}
	reconnected := make(chan struct{}, 1)
	options := []nats.Option{nats.UserInfo(os.Getenv("IM_ACCOUNT"), os.Getenv("IM_PASSWORD")),
		nats.CustomInboxPrefix("_INBOX." + id), nats.MaxReconnects(-1),
		nats.ReconnectHandler(func(*nats.Conn) {
			select {
			case reconnected <- struct{}{}:
			default:
			}
		})}
	if ca := os.Getenv("IM_CA"); ca != "" { // the self-signed certificate of the server
		options = append(options, nats.RootCAs(ca))
	}
	nc, err := nats.Connect(url, options...)
	must(err)
	defer nc.Drain()
	b := &bot{nc, id}

	// The subscription makes the user online. What arrives waits until the bot has caught up: an acknowledgement is
	// cumulative, and must not cover dialogues that the bot has not answered.
	dialogues := make(chan *nats.Msg, 1024)
	_, err = nc.ChanSubscribe("im.user."+id+".dialogue", dialogues)
	must(err)
	_, err = nc.Subscribe("im.user."+id+".notice", b.notice)
	must(err)
	must(b.catchUp())

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	for {
		select {
		case <-stop:
			return
		case <-reconnected:
			if err := b.catchUp(); err != nil {
				log.Print(err)
			}
		case m := <-dialogues:
			b.receive(m)
		}
	}
}

// receive echoes a dialogue, and then acknowledges it with an empty answer.
func (b *bot) receive(m *nats.Msg) {
	var d dialogue
	if json.Unmarshal(m.Data, &d) == nil && d.From != "" { // an empty dialogue is a presence check
		if echo := b.echo(d, d.From); echo != nil {
			must(b.nc.PublishRequest("im.send."+b.id, b.nc.NewRespInbox(), echo))
		}
	}
	must(m.Respond(nil))
}

// echo returns the answer to a dialogue, or nil if it gets none. Its id follows from the dialogue, so that the server
// stores it once, however often the bot sends it.
func (b *bot) echo(d dialogue, with string) []byte {
	if d.From == b.id || d.Payload == "" || d.Reacts != 0 || d.Edits != 0 || d.Deletes != 0 {
		return nil
	}
	answer := map[string]any{"id": "echo-" + d.ID, "toFriend": with, "payload": d.Payload}
	if d.N != 0 {
		answer["id"], answer["re"] = fmt.Sprint("echo-", d.N), d.N
	}
	body, err := json.Marshal(answer)
	must(err)
	return body
}

// catchUp answers the dialogues that no client of the user has acknowledged.
func (b *bot) catchUp() error {
	var all struct {
		Code  int
		Talks []struct {
			With      string
			Last, Got uint64
		}
	}
	if err := b.ask("im.call."+b.id+".talks", map[string]any{}, &all); err != nil || all.Code != 200 {
		return err // 403: the server keeps no conversations
	}
	for _, talk := range all.Talks {
		for talk.Got < talk.Last {
			var page struct {
				Code      int
				Dialogues []dialogue
			}
			err := b.ask("im.call."+b.id+".dialogues", map[string]any{"with": talk.With, "after": talk.Got}, &page)
			if err != nil {
				return err
			}
			if page.Code != 200 {
				return fmt.Errorf("read the dialogues of %s: code %d", talk.With, page.Code)
			}
			if len(page.Dialogues) == 0 {
				break
			}
			for _, d := range page.Dialogues {
				if echo := b.echo(d, talk.With); echo != nil {
					if _, err := b.nc.Request("im.send."+b.id, echo, timeout); err != nil {
						return fmt.Errorf("answer %s: %w", talk.With, err)
					}
				}
				talk.Got = d.N
			}
			if err := b.ask("im.call."+b.id+".got", map[string]any{"with": talk.With, "got": talk.Got}, &page); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask makes a call.
func (b *bot) ask(subject string, fields map[string]any, answer any) error {
	body, err := json.Marshal(fields)
	must(err)
	m, err := b.nc.Request(subject, body, timeout)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	return json.Unmarshal(m.Data, answer)
}

// notice accepts a friend request.
func (b *bot) notice(m *nats.Msg) {
	var n struct {
		Code    int
		Request struct{ ID, Name string }
	}
	if json.Unmarshal(m.Data, &n) == nil && n.Code == 520 { // a friend request
		add, err := json.Marshal(map[string]string{"from": n.Request.ID, "name": n.Request.Name})
		must(err)
		must(b.nc.PublishRequest("im.call."+b.id+".add", b.nc.NewRespInbox(), add))
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
