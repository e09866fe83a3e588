// Command pushgateway takes the event dialogue.offline of a webhook, and has a push service notify the friend. The push
// service stands for APNs, FCM or another one: a POST with JSON.
//
//	imctl webhook add push --url http://127.0.0.1:9010/ --events dialogue.offline > secret
//	go run ./examples/pushgateway 127.0.0.1:9010 secret http://127.0.0.1:9011/send
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// event is a dialogue.offline.
type event struct {
	Type string
	Data struct {
		ToAccount string `json:"to_account"`
		FromName  string `json:"from_name"`
		Unread    int
		Muted     bool
	}
}

// notification is what the push service gets.
type notification struct {
	To    string `json:"to"` // the device; here the account stands for it
	Title string `json:"title"`
	Body  string `json:"body"`
	Badge int    `json:"badge"`
}

type gateway struct {
	key    *standardwebhooks.Webhook
	send   string // URL of the push service
	client *http.Client
	seen   *expirable.LRU[string, struct{}] // ids of events that were sent
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: pushgateway ADDRESS SECRET-FILE PUSH-SERVICE")
	}
	secret, err := os.ReadFile(os.Args[2])
	must(err)
	key, err := standardwebhooks.NewWebhook(strings.TrimSpace(string(secret)))
	must(err)
	g := &gateway{key: key, send: os.Args[3], client: &http.Client{Timeout: 10 * time.Second}, seen: expirable.NewLRU[string, struct{}](100_000, nil, 4*24*time.Hour)}
	s := &http.Server{Addr: os.Args[1], Handler: g, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second}
	must(s.ListenAndServe())
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil || g.key.Verify(body, r.Header) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	id := r.Header.Get(standardwebhooks.HeaderWebhookID)
	if e.Type != "dialogue.offline" || e.Data.Muted || g.seen.Contains(id) {
		return // 200: the event is settled
	}
	if err := g.notify(e); err != nil {
		log.Print(err)
		w.WriteHeader(http.StatusServiceUnavailable) // the server posts the event again
		return
	}
	g.seen.Add(id, struct{}{})
}

// notify sends a notification. It has the number of unread dialogues and not their text, which the push service would
// see.
func (g *gateway) notify(e event) error {
	text, err := json.Marshal(notification{To: e.Data.ToAccount, Title: e.Data.FromName, Body: fmt.Sprintf("%d unread", e.Data.Unread), Badge: e.Data.Unread})
	if err != nil {
		return err
	}
	answer, err := g.client.Post(g.send, "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the push service answered %s", answer.Status)
	}
	return nil
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
