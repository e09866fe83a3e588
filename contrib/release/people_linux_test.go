package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// people are two users, of whom each has a client.
type people struct {
	t      *testing.T
	client *http.Client
	tls    *tls.Config
	ids    map[string]string // by account
}

// newPeople returns people whose clients trust the certificate of the proxy.
func newPeople(o *operator) *people {
	o.t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(o.read("/etc/letsencrypt/live/" + operatorHost + "/fullchain.pem"))) {
		o.t.Fatal("the proxy has no certificate")
	}
	p := &people{t: o.t, tls: &tls.Config{RootCAs: pool}, ids: make(map[string]string)}
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: p.tls, DialContext: dialProxy}}
	o.eventually("the reload of nginx", func() bool {
		response, err := p.client.Get("https://" + operatorHost + "/im/info")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

// dialProxy connects to the proxy, whatever the host name is.
func dialProxy(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
}

// answer is an answer to a call, or a frame.
type answer struct {
	Code    int
	Ticket  string
	Token   string
	ID      string
	From    string
	Payload json.RawMessage
	Profile struct{ ID string }
}

// call makes a call, and returns its answer, which has to be a success.
func (p *people) call(path string, query url.Values, body any) (a answer) {
	p.t.Helper()
	address := "https://" + operatorHost + "/im/" + path + "?" + query.Encode()
	var response *http.Response
	var err error
	if body == nil {
		response, err = p.client.Get(address)
	} else {
		text, marshalErr := json.Marshal(body)
		if marshalErr != nil {
			p.t.Fatal(marshalErr)
		}
		response, err = p.client.Post(address, "application/json", bytes.NewReader(text))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil || a.Code != http.StatusOK {
		p.t.Fatalf("%s: %v: %s", path, err, text)
	}
	return a
}

func password(account string) string { return "the password of " + account }

// register registers ada and ben by an invite, and makes them friends.
func (p *people) register(invite string) {
	p.t.Helper()
	for _, account := range []string{"ada", "ben"} {
		p.call("register", nil, map[string]string{"account": account, "password": password(account), "mail": account + "@example.org", "invite": invite})
	}
	ada, ben := p.login("ada"), p.login("ben")
	p.call("friends/request", url.Values{"id": {ada.id}, "token": {ada.token}, "to": {ben.id}, "note": {"Hello"}}, nil)
	p.call("friends/add", url.Values{"id": {ben.id}, "token": {ben.token}, "from": {ada.id}, "name": {"Ada"}}, nil)
	p.ids["ada"], p.ids["ben"] = ada.id, ben.id
}

// login logs a user in by a ticket, until the test ends.
func (p *people) login(account string) *client {
	p.t.Helper()
	return p.connect(p.call("session", nil, map[string]string{"account": account, "password": password(account)}).Ticket)
}

// loginByToken logs a user in by the token of an earlier session.
func (p *people) loginByToken(before *client) {
	p.t.Helper()
	p.connect(p.call("session", nil, map[string]string{"id": before.id, "token": before.token}).Ticket)
}

// connect opens the tunnel of a ticket, until the test ends.
func (p *people) connect(ticket string) *client {
	p.t.Helper()
	dialer := websocket.Dialer{TLSClientConfig: p.tls, NetDialContext: dialProxy}
	ws, response, err := dialer.Dial("wss://"+operatorHost+"/im/login?ticket="+ticket, nil)
	if err != nil {
		p.t.Fatal(err, response)
	}
	p.t.Cleanup(func() { _ = ws.Close() })
	c := &client{t: p.t, ws: ws}
	first := c.next()
	if first.Code != http.StatusOK {
		p.t.Fatalf("a login is answered %+v", first)
	}
	c.id, c.token = first.Profile.ID, first.Token
	return c
}

// talk has ada write to ben.
func (p *people) talk(text string) {
	p.t.Helper()
	ada, ben := p.login("ada"), p.login("ben")
	frame := map[string]string{"id": "1", "toFriend": p.ids["ben"], "payload": text}
	if err := ada.ws.WriteJSON(frame); err != nil {
		p.t.Fatal(err)
	}
	if got := ben.next(); got.From != p.ids["ada"] || string(got.Payload) != fmt.Sprintf("%q", text) {
		p.t.Errorf("ben receives %+v", got)
	}
	if got := ada.next(); got.Code != http.StatusOK || got.ID != "1" {
		p.t.Errorf("ada receives %+v", got)
	}
	for _, c := range []*client{ada, ben} {
		if err := c.ws.Close(); err != nil {
			p.t.Error(err)
		}
	}
}

// client is a session of a user.
type client struct {
	t         *testing.T
	ws        *websocket.Conn
	id, token string
}

// next returns the next frame.
func (c *client) next() (a answer) {
	c.t.Helper()
	if err := c.ws.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	if err := c.ws.ReadJSON(&a); err != nil {
		c.t.Fatal(err)
	}
	return a
}

// waitClosed waits until the server has closed the session with the status of a restart.
func (c *client) waitClosed() {
	c.t.Helper()
	_, _, err := c.ws.ReadMessage()
	if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		c.t.Errorf("the session ends with %v", err)
	}
}
