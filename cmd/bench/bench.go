// Package bench puts load on a server that speaks the protocol, by sessions and calls like
// those of people, and tells how it bears it: rates, latencies, codes, and where the server is a
// process of this machine, what it costs there.
//
// Load comes from people who are made for it and removed afterwards, see Crowd.
package bench

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/wire"
)

// patience bounds one login and one call.
const patience = 30 * time.Second

// Target is the server under load.
type Target struct {
	base   string // with the path /im, without a slash at its end
	dialer websocket.Dialer
	client *http.Client
}

// NewTarget returns the target at a URL of scheme http or https. Without a path the protocol is below /im. insecure
// believes any certificate.
func NewTarget(address string, insecure bool) (*Target, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no URL of a server, as http://localhost:8080", address)
	}
	if u.Path = strings.TrimRight(u.Path, "/"); u.Path == "" {
		u.Path = "/im"
	}
	security := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure}
	dial := (&net.Dialer{Timeout: patience}).DialContext
	return &Target{
		base:   u.String(),
		dialer: websocket.Dialer{NetDialContext: dial, TLSClientConfig: security, HandshakeTimeout: patience, ReadBufferSize: 2 << 10, WriteBufferSize: 1 << 10},
		client: &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dial, TLSClientConfig: security, MaxIdleConnsPerHost: 1024}},
	}, nil
}

// Close lets go of connections that wait to be used again.
func (t *Target) Close() { t.client.CloseIdleConnections() }

// Person is an account that is made for load.
type Person struct{ ID, Account, Password string }

// tunnel is the WebSocket of somebody logged in.
type tunnel struct {
	ws    *websocket.Conn
	me    string // id
	token string
	buf   []byte
}

// login opens a tunnel and reads the login's answer. A refusal is a wire.Code.
func (t *Target) login(ctx context.Context, p Person) (*tunnel, error) {
	return t.open(ctx, url.Values{"account": {p.Account}, "password": {p.Password}})
}

// resume is a login by token.
func (t *Target) resume(ctx context.Context, id, token string) (*tunnel, error) {
	return t.open(ctx, url.Values{"id": {id}, "token": {token}})
}

func (t *Target) open(ctx context.Context, credentials url.Values) (*tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ws, response, err := t.dialer.DialContext(ctx, "ws"+strings.TrimPrefix(t.base, "http")+"/login?"+credentials.Encode(), nil)
	if err != nil {
		if response != nil {
			return nil, fmt.Errorf("log in: the server answers %s instead of a WebSocket", response.Status)
		}
		return nil, fmt.Errorf("log in: %w", hideURL(err))
	}
	// A context that ends while the answer is awaited ends the wait.
	stop := context.AfterFunc(ctx, func() { ws.NetConn().SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &tunnel{ws: ws}
	frame, err := c.read()
	if err != nil {
		ws.Close()
		return nil, fmt.Errorf("log in: %w", err)
	}
	var answer struct {
		Code    wire.Code
		Profile struct{ ID string }
		Token   string
	}
	if err := json.Unmarshal(frame, &answer); err != nil || answer.Code != wire.Success {
		ws.Close()
		if answer.Code != 0 {
			return nil, fmt.Errorf("log in: %w", answer.Code)
		}
		return nil, errors.New("log in: the answer is none of the protocol's")
	}
	c.me, c.token = answer.Profile.ID, answer.Token
	if len(c.buf) > 4<<10 {
		c.buf = nil // of a long list of friends, as thousands of idle connections need not hold
	}
	return c, nil
}

// read returns the next frame, which holds until the next call.
func (c *tunnel) read() ([]byte, error) {
	_, r, err := c.ws.NextReader()
	if err != nil {
		return nil, err
	}
	c.buf = c.buf[:0]
	for {
		if len(c.buf) == cap(c.buf) {
			c.buf = append(c.buf, make([]byte, 512)...)[:len(c.buf)]
		}
		n, err := r.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		if errors.Is(err, io.EOF) {
			return c.buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// drain answers pings and throws the rest away, until the connection ends.
func (c *tunnel) drain() {
	for {
		if _, _, err := c.ws.NextReader(); err != nil {
			return
		}
	}
}

// close ends the session as a client does that leaves.
func (c *tunnel) close() {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if c.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second)) != nil {
		c.ws.NetConn().Close() // it is not there any more
	}
	c.ws.Close()
}

// get makes a call of somebody logged in.
func (t *Target) get(ctx context.Context, path string, c *tunnel, query url.Values) error {
	query.Set("id", c.me)
	query.Set("token", c.token)
	return t.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil)
}

// call returns the answer's code where it is not Success.
func (t *Target) call(ctx context.Context, method, path string, body io.Reader) error {
	request, err := http.NewRequestWithContext(ctx, method, t.base+path, body)
	if err != nil {
		return hideURL(err)
	}
	response, err := t.client.Do(request)
	if err != nil {
		return hideURL(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return hideURL(err)
	}
	answer, ok := wire.ParseReply(data)
	switch {
	case !ok:
		return fmt.Errorf("the server answers %s, and not with one of the protocol's codes", response.Status)
	case answer.Code != wire.Success:
		return answer.Code
	}
	return nil
}

// hideURL takes the URL out of an error: it has a password or a token in it.
func hideURL(err error) error {
	var named *url.Error
	if errors.As(err, &named) {
		return named.Err
	}
	return err
}
