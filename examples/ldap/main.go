// Command ldap answers imctl's questions about logins by an LDAP directory. It looks for the entry of an account, and
// binds as that entry with the password:
//
//	imctl attach add directory --role auth --context directory.json
//	LDAP_URL=ldaps://ldap.example.org LDAP_BASE=ou=people,dc=example,dc=org go -C examples/ldap run . directory.json
//
// The environment configures it:
//
//	LDAP_URL            ldap://127.0.0.1:389 by default; ldaps:// for TLS
//	LDAP_STARTTLS       1: use TLS on ldap://
//	LDAP_CA             a PEM file with the certificates that sign the directory's; those of the system by default
//	LDAP_BASE           where entries are
//	LDAP_FILTER         finds the entry of an account: (uid={account}) by default
//	LDAP_BIND_DN        reads the directory; anonymous by default
//	LDAP_BIND_PASSWORD  its password
//	LDAP_ACCOUNT, LDAP_NAME, LDAP_MAIL, LDAP_ID  attributes: uid, cn, mail and entryUUID by default
//	LDAP_PREFIX         nats.prefix of imctl: im by default
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// concurrent is how many questions are answered at the same time.
	concurrent = 16
	// waiting is how many more questions wait. The server asks again, or another program answers, if there are more.
	waiting = 256
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: ldap CONTEXT.json")
	}
	d, err := newDirectory(os.Getenv)
	must(err)
	nc, err := connect(os.Args[1])
	must(err)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	must(serve(ctx, nc, cmp.Or(os.Getenv("LDAP_PREFIX"), "im"), d))
}

// connect connects to NATS by a context file of imctl attach add. It goes on connecting while the server is away.
func connect(file string) (*nats.Conn, error) {
	var c struct {
		URL, User, Password, CA string
		InboxPrefix             string `json:"inbox_prefix"`
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	options := []nats.Option{nats.Name("ldap"), nats.UserInfo(c.User, c.Password), nats.CustomInboxPrefix(c.InboxPrefix), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Print(err) })}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	return nats.Connect(c.URL, options...)
}

// question is what imctl asks. Only a login has a password.
type question struct {
	Account, Password string
}

// reply is the answer. Without one, imctl tells the client that it is busy.
type reply struct {
	Result  string `json:"result"` // yes, no or unknown
	Account string `json:"account,omitempty"`
	Subject string `json:"subject,omitempty"` // what the directory calls the person, whatever its account
	Name    string `json:"name,omitempty"`
	Mail    string `json:"mail,omitempty"`
}

// serve answers questions until ctx ends. Of several programs that serve, each answers a part.
func serve(ctx context.Context, nc *nats.Conn, prefix string, d *directory) error {
	questions := make(chan *nats.Msg, waiting)
	for _, kind := range []string{"login", "lookup"} {
		if _, err := nc.ChanQueueSubscribe(prefix+".auth."+kind, "auth", questions); err != nil {
			return err
		}
	}
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		log.Print("NATS does not answer yet: ", err)
	} else {
		log.Print("answering")
	}
	var workers sync.WaitGroup
	for range concurrent {
		workers.Go(func() {
			for {
				select {
				case m := <-questions:
					answer(d, m, m.Subject == prefix+".auth.login")
				case <-ctx.Done():
					return
				}
			}
		})
	}
	workers.Wait()
	nc.Close()
	d.close()
	return nil
}

func answer(d *directory, m *nats.Msg, login bool) {
	var q question
	if err := json.Unmarshal(m.Data, &q); err != nil {
		log.Print("a question is not JSON") // its text may have a password
		return
	}
	var r reply
	var err error
	if login {
		r, err = d.login(q.Account, q.Password)
	} else {
		r, err = d.lookup(q.Account)
	}
	if err != nil {
		log.Printf("account %q: %v", q.Account, err)
		return
	}
	body, err := json.Marshal(r)
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		log.Print(err)
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
