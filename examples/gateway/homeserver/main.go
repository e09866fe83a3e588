// Command homeserver stands in for a Matrix homeserver, to try the gateway. It knows one application service, and prints
// what is written in rooms. POST /invite and /say act as a Matrix user:
//
//	homeserver -listen 127.0.0.1:8008 -service http://127.0.0.1:9008
//	curl 127.0.0.1:8008/invite -d 'room=!r:localhost' -d sender=@ada:localhost -d user=@imctl_ben:localhost
//	curl 127.0.0.1:8008/say -d 'room=!r:localhost' -d sender=@ada:localhost -d body=Hello
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
)

type homeserver struct {
	service string

	mu   sync.Mutex
	last int
	seen map[string]bool // transactions of the application service
}

func main() {
	h := &homeserver{seen: make(map[string]bool)}
	listen := flag.String("listen", "127.0.0.1:8008", "address")
	flag.StringVar(&h.service, "service", "http://127.0.0.1:9008", "URL of the application service")
	flag.Parse()
	http.HandleFunc("POST /_matrix/client/v3/register", h.asService(func(*http.Request, []byte) {}))
	http.HandleFunc("POST /_matrix/client/v3/rooms/{room}/join", h.asService(func(r *http.Request, _ []byte) {
		fmt.Printf("%s %s joins\n", r.PathValue("room"), r.FormValue("user_id"))
	}))
	http.HandleFunc("PUT /_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction}", h.asService(h.message))
	http.HandleFunc("POST /invite", h.event("m.room.member"))
	http.HandleFunc("POST /say", h.event("m.room.message"))
	log.Fatal(http.ListenAndServe(*listen, nil))
}

// asService lets the application service make a call.
func (h *homeserver) asService(do func(*http.Request, []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+os.Getenv("AS_TOKEN") {
			http.Error(w, `{"errcode":"M_UNKNOWN_TOKEN"}`, http.StatusUnauthorized)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, `{"errcode":"M_NOT_JSON"}`, http.StatusBadRequest)
			return
		}
		do(r, body)
		fmt.Fprint(w, `{}`)
	}
}

// message prints what a ghost writes. A transaction is shown once.
func (h *homeserver) message(r *http.Request, body []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var content struct{ Body string }
	if key := r.URL.String(); json.Unmarshal(body, &content) == nil && !h.seen[key] {
		h.seen[key] = true
		fmt.Printf("%s %s: %s\n", r.PathValue("room"), r.FormValue("user_id"), content.Body)
	}
}

// event sends an event of a Matrix user to the application service, and answers with the status that it gets.
func (h *homeserver) event(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.last++
		id := fmt.Sprintf("$%d", h.last)
		h.mu.Unlock()
		content := map[string]string{"membership": "invite"}
		if kind == "m.room.message" {
			content = map[string]string{"msgtype": "m.text", "body": r.FormValue("body")}
		}
		body, err := json.Marshal(map[string]any{"events": []any{map[string]any{"type": kind, "event_id": id, "room_id": r.FormValue("room"),
			"sender": r.FormValue("sender"), "state_key": r.FormValue("user"), "content": content}}})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		q, err := http.NewRequest(http.MethodPut, h.service+"/_matrix/app/v1/transactions/"+id, bytes.NewReader(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		q.Header.Set("Authorization", "Bearer "+os.Getenv("HS_TOKEN"))
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
	}
}
