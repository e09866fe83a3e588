// Command oidc-provider is an OpenID Connect provider for trying imctl out. It asks for no password, so it listens on a
// loopback address only:
//
//	go run ./examples/oidc-provider -secret FILE -user 'ada=Ada Lovelace'
package main

import (
	"cmp"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"imctl/bridge/oidc/oidctest"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5556", "loopback `address` of the provider")
	client := flag.String("client", "imctl", "`id` of the client")
	secret := flag.String("secret", "", "`file` with the secret of the client, empty for a public client")
	redirect := flag.String("redirect", "http://127.0.0.1:8080/im/oidc/callback", "`URL` that browsers are sent back to")
	var users []oidctest.User
	flag.Func("user", "a user, `account=name`; with several, a page asks which one signs in", func(text string) error {
		account, name, _ := strings.Cut(text, "=")
		if account == "" {
			return errors.New("must be account=name")
		}
		users = append(users, oidctest.User{Subject: "id-of-" + account, Account: account, Name: cmp.Or(name, account), Mail: account + "@example.org"})
		return nil
	})
	flag.Parse()
	o := oidctest.Options{Issuer: "http://" + *listen, ClientID: *client, Redirect: *redirect, Users: users}
	if *secret != "" {
		text, err := os.ReadFile(*secret)
		must(err)
		o.ClientSecret = strings.TrimSpace(string(text))
	}
	l, err := net.Listen("tcp", *listen)
	must(err)
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		log.Fatal("the provider asks for no password: -listen must be a loopback address")
	}
	log.Print("issuer ", o.Issuer)
	server := &http.Server{Handler: oidctest.New(o), ReadHeaderTimeout: 10 * time.Second}
	must(server.Serve(l))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
