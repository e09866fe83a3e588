// Command archiver appends the log to a file, one JSON object per line. It acknowledges entries after it has synced
// them to the disk:
//
//	imctl attach add archiver --role consumer --filter 'dialogue.>' --context archiver.json
//	go run ./examples/archiver archiver.json archive.jsonl
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: archiver CONTEXT.json FILE")
	}
	var c struct { // the NATS context file of the attachment
		URL, User, Password string
		CA                  string // file with the certificate of the server, "" if the system knows its issuer
		InboxPrefix         string `json:"inbox_prefix"`
		Domain              string `json:"jetstream_domain"` // "" for the domain of the server
	}
	text, err := os.ReadFile(os.Args[1])
	must(err)
	must(json.Unmarshal(text, &c))
	archive, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	must(err)

	options := []nats.Option{nats.UserInfo(c.User, c.Password), nats.CustomInboxPrefix(c.InboxPrefix), nats.MaxReconnects(-1)}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	nc, err := nats.Connect(c.URL, options...)
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	if c.Domain != "" {
		js, err = jetstream.NewWithDomain(nc, c.Domain)
		must(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	consumer, err := js.Consumer(ctx, "IM_LOG", c.User)
	must(err)
	for ctx.Err() == nil {
		batch, err := consumer.Fetch(500, jetstream.FetchMaxWait(time.Second))
		must(err)
		var written []jetstream.Msg
		for m := range batch.Messages() {
			_, err := archive.Write(append(m.Data(), '\n'))
			must(err)
			written = append(written, m)
		}
		must(archive.Sync())
		for _, m := range written { // unacknowledged entries are redelivered, so each arrives at least once
			must(m.Ack())
		}
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
