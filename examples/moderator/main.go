// Command moderator replaces the words of a file by asterisks, in dialogues and friend requests, before anyone sees
// them. With -refuse it refuses the dialogue or request instead. It refuses registrations with such a name. The file
// has one word per line:
//
//	imctl attach add moderator --role moderator --context moderator.json
//	go run ./examples/moderator moderator.json words.txt
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
)

var word = regexp.MustCompile(`[\pL\pM\pN]+`)

func main() {
	refuse := flag.Bool("refuse", false, "refuse, instead of replacing")
	flag.Parse()
	if flag.NArg() != 2 {
		log.Fatal("usage: moderator [-refuse] CONTEXT.json WORDS.txt")
	}
	var c struct { // the NATS context file of the attachment
		URL, User, Password string
		CA                  string // file with the certificate of the server, "" if the system knows its issuer
		InboxPrefix         string `json:"inbox_prefix"`
	}
	text, err := os.ReadFile(flag.Arg(0))
	must(err)
	must(json.Unmarshal(text, &c))
	list, err := os.ReadFile(flag.Arg(1))
	must(err)
	bad := make(map[string]bool)
	for _, w := range strings.Fields(string(list)) {
		bad[strings.ToLower(w)] = true
	}

	answer := func(m *nats.Msg) {
		var q struct{ Payload, Note, Account, Name string }
		must(json.Unmarshal(m.Data, &q))
		before := q.Payload + q.Note + q.Account + " " + q.Name // a question has only some of them
		clean := word.ReplaceAllStringFunc(before, func(w string) string {
			if bad[strings.ToLower(w)] {
				return strings.Repeat("*", utf8.RuneCountInString(w))
			}
			return w
		})
		switch {
		case clean == before:
			must(m.Respond(nil))
		case *refuse || q.Account != "":
			must(m.Respond([]byte(`{"action":"refuse"}`)))
		default:
			payload, err := json.Marshal(strings.TrimSuffix(clean, " "))
			must(err)
			must(m.Respond([]byte(`{"action":"replace","payload":` + string(payload) + `}`)))
		}
	}
	options := []nats.Option{nats.UserInfo(c.User, c.Password), nats.CustomInboxPrefix(c.InboxPrefix), nats.MaxReconnects(-1)}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	nc, err := nats.Connect(c.URL, options...)
	must(err)
	_, err = nc.QueueSubscribe("im.hook.>", "moderators", answer) // of programs in the group, one gets each question
	must(err)
	must(nc.Flush())
	log.Println("moderating by", len(bad), "words")
	select {}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
