// Command sqlite archives the log in a SQLite database, one row for each entry. It acknowledges entries after their
// transaction is committed. An entry that is delivered again has the same key, so no row is lost and none is there twice:
//
//	imctl attach add archive --role consumer --filter 'dialogue.>' --context archive.json
//	go run -C examples/sqlite . archive.json archive.db
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	_ "github.com/ncruces/go-sqlite3/driver"
	_ "github.com/ncruces/go-sqlite3/embed"
)

// The sequence is that of the log's stream. A restored log may use it again, and never with the same time.
const schema = `
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS entries (
	sequence INTEGER NOT NULL,
	stored   INTEGER NOT NULL, -- nanoseconds since 1970
	subject  TEXT NOT NULL,
	entry    TEXT NOT NULL,    -- JSON
	PRIMARY KEY (sequence, stored)
);`

func main() {
	var c struct { // the NATS context file of the attachment
		URL, User, Password string
		CA                  string // file with the certificate of the server, "" if the system knows its issuer
		InboxPrefix         string `json:"inbox_prefix"`
		Domain              string `json:"jetstream_domain"` // "" for the domain of the server
	}
	if len(os.Args) != 3 {
		log.Fatal("usage: sqlite CONTEXT DATABASE")
	}
	text, err := os.ReadFile(os.Args[1])
	must(err)
	must(json.Unmarshal(text, &c))
	db, err := sql.Open("sqlite3", "file:"+os.Args[2])
	must(err)
	defer db.Close()
	db.SetMaxOpenConns(1) // the pragmas are those of a connection
	_, err = db.Exec(schema)
	must(err)

	options := []nats.Option{nats.UserInfo(c.User, c.Password), nats.CustomInboxPrefix(c.InboxPrefix), nats.MaxReconnects(-1)}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	nc, err := nats.Connect(c.URL, options...)
	must(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	if c.Domain != "" {
		js, err = jetstream.NewWithDomain(nc, c.Domain)
	}
	must(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	consumer, err := js.Consumer(ctx, "IM_LOG", c.User)
	must(err)
	for ctx.Err() == nil {
		batch, err := consumer.Fetch(500, jetstream.FetchMaxWait(time.Second))
		must(err)
		var all []jetstream.Msg
		for m := range batch.Messages() {
			all = append(all, m)
		}
		must(store(db, all))
		for _, m := range all { // an entry that is not acknowledged is delivered again
			must(m.Ack())
		}
	}
	must(nc.Flush())
}

// store writes the entries in one transaction. It ignores those that are there already.
func store(db *sql.DB, all []jetstream.Msg) error {
	if len(all) == 0 {
		return nil
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after the commit
	for _, m := range all {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", int64(meta.Sequence.Stream), meta.Timestamp.UnixNano(), m.Subject(), string(m.Data())); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
