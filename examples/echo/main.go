// Command echo is a bot that accepts every friend request and echoes every dialogue. It uses an ordinary account and is
// an ordinary NATS client:
//
//	IM_ID=… IM_ACCOUNT=echo IM_PASSWORD=… go run ./examples/echo
package main

import (
	"encoding/json"
	"log"
	"os"
	"os/signal"

	"github.com/nats-io/nats.go"
)

func main() {
	url, id := os.Getenv("IM_NATS"), os.Getenv("IM_ID")
	if url == "" {
		url = nats.DefaultURL
	}
	options := []nats.Option{nats.UserInfo(os.Getenv("IM_ACCOUNT"), os.Getenv("IM_PASSWORD")),
		nats.CustomInboxPrefix("_INBOX." + id), nats.MaxReconnects(-1)}
	if ca := os.Getenv("IM_CA"); ca != "" { // the self-signed certificate of the server
		options = append(options, nats.RootCAs(ca))
	}
	nc, err := nats.Connect(url, options...)
	must(err)
	defer nc.Drain()

	// The subscription makes the user online. An empty answer acknowledges the dialogue.
	_, err = nc.Subscribe("im.user."+id+".dialogue", func(m *nats.Msg) {
		var d struct{ ID, From, Payload string }
		if json.Unmarshal(m.Data, &d) != nil || m.Respond(nil) != nil || d.From == "" {
			return // an empty dialogue is a presence check
		}
		echo, _ := json.Marshal(map[string]string{"id": "echo-" + d.ID, "toFriend": d.From, "payload": d.Payload})
		must(nc.PublishRequest("im.send."+id, nc.NewRespInbox(), echo))
	})
	must(err)

	_, err = nc.Subscribe("im.user."+id+".notice", func(m *nats.Msg) {
		var n struct {
			Code    int
			Request struct{ ID, Name string }
		}
		if json.Unmarshal(m.Data, &n) == nil && n.Code == 520 { // a friend request
			add, _ := json.Marshal(map[string]string{"from": n.Request.ID, "name": n.Request.Name})
			must(nc.PublishRequest("im.call."+id+".add", nc.NewRespInbox(), add))
		}
	})
	must(err)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
