// Package bench measures a server of the protocol under load. It opens sessions and makes calls like real clients, and
// reports rates, latencies and answer codes. For a server on the same machine it also reports CPU time and memory.
//
// The load comes from test accounts, which a Crowd creates and removes.
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

// Errors of the steps that a limit of the server may refuse. They wrap the wire.Code of the answer.
var (
	ErrLogin    = errors.New("log in")
	ErrRegister = errors.New("register")
)

// callTimeout limits one login or one call.
const callTimeout = 30 * time.Second

// Target is the server under load, or several servers of one cluster.
type Target struct {
	base   string // URL with the path /im, without a trailing slash
	others []*Target
	dialer websocket.Dialer
	client *http.Client
}

// NewTarget returns the target at http or https URLs, one for each server. The default of the path is /im. With
// insecure, the target does not verify the certificates of the servers.
func NewTarget(insecure bool, addresses ...string) (*Target, error) {
	t, err := newTarget(addresses[0], insecure)
	for _, address := range addresses[1:] {
		if err != nil {
			return nil, err
		}
		var other *Target
		other, err = newTarget(address, insecure)
		t.others = append(t.others, other)
	}
	return t, err
}

func newTarget(address string, insecure bool) (*Target, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the URL of a server, such as http://localhost:8080", address)
	}
	if u.Path = strings.TrimRight(u.Path, "/"); u.Path == "" {
		u.Path = "/im"
	}
	security := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure}
	dial := (&net.Dialer{Timeout: callTimeout}).DialContext
	return &Target{
		base:   u.String(),
		dialer: websocket.Dialer{NetDialContext: dial, TLSClientConfig: security, HandshakeTimeout: callTimeout, ReadBufferSize: 2 << 10, WriteBufferSize: 1 << 10},
		client: &http.Client{Timeout: callTimeout, Transport: &http.Transport{DialContext: dial, TLSClientConfig: security, MaxIdleConnsPerHost: 1024}},
	}, nil
}

// at returns the server of person i. Neighbours are on different servers, if there are several.
func (t *Target) at(i int) *Target {
	if i %= len(t.others) + 1; i > 0 {
		return t.others[i-1]
	}
	return t
}

// Close closes idle connections.
func (t *Target) Close() {
	t.client.CloseIdleConnections()
	for _, other := range t.others {
		other.Close()
	}
}

// Person is a test account.
type Person struct{ ID, Account, Password string }

// tunnel is the WebSocket of a logged-in user.
type tunnel struct {
	ws     *websocket.Conn
	userID string
	token  string
	buf    []byte
}

// login opens a tunnel and reads the answer to the login. If the server refuses the login, the error is a wire.Code.
func (t *Target) login(ctx context.Context, p Person) (*tunnel, error) {
	return t.open(ctx, url.Values{"account": {p.Account}, "password": {p.Password}})
}

// loginKeep is login as a client that keeps conversations.
func (t *Target) loginKeep(ctx context.Context, p Person) (*tunnel, error) {
	return t.open(ctx, url.Values{"account": {p.Account}, "password": {p.Password}, "keep": {"1"}})
}

// resume is login with a token.
func (t *Target) resume(ctx context.Context, id, token string) (*tunnel, error) {
	return t.open(ctx, url.Values{"id": {id}, "token": {token}})
}

func (t *Target) open(ctx context.Context, credentials url.Values) (*tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ws, response, err := t.dialer.DialContext(ctx, "ws"+strings.TrimPrefix(t.base, "http")+"/login?"+credentials.Encode(), nil)
	if err != nil {
		if response != nil {
			return nil, fmt.Errorf("log in: the server answers %s instead of opening a WebSocket", response.Status)
		}
		return nil, fmt.Errorf("log in: %w", hideURL(err))
	}
	// If ctx ends, the deadline ends the read of the answer.
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
			return nil, fmt.Errorf("%w: the server answers %w", ErrLogin, answer.Code)
		}
		return nil, errors.New("log in: the server sends an invalid answer")
	}
	c.userID, c.token = answer.Profile.ID, answer.Token
	if len(c.buf) > 4<<10 {
		c.buf = nil // thousands of idle connections should not keep the buffer of a long list of friends
	}
	return c, nil
}

// read returns the next frame, which is valid until the next call.
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

// drain answers pings and discards all frames until the connection ends.
func (c *tunnel) drain() {
	for {
		if _, _, err := c.ws.NextReader(); err != nil {
			return
		}
	}
}

// close ends the session with a close frame, like a client that leaves.
func (c *tunnel) close() {
	message := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if c.ws.WriteControl(websocket.CloseMessage, message, time.Now().Add(time.Second)) != nil {
		c.ws.NetConn().Close() // the connection is broken
	}
	c.ws.Close()
}

// get makes an HTTP call as the user of c.
func (t *Target) get(ctx context.Context, path string, c *tunnel, query url.Values) error {
	query.Set("id", c.userID)
	query.Set("token", c.token)
	return t.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil)
}

// call makes an HTTP call. It returns the code of the answer as the error, or nil for wire.Success.
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
		return fmt.Errorf("the server answers %s without a code of the protocol", response.Status)
	case answer.Code != wire.Success:
		return answer.Code
	}
	return nil
}

// hideURL removes the URL from an error, since it contains a password or a token.
func hideURL(err error) error {
	var named *url.Error
	if errors.As(err, &named) {
		return named.Err
	}
	return err
}
