// Package client is for bots: programs that are a user of imctl, by NATS. A [Client] reads the user's dialogues in order,
// also those that it has missed, sends dialogues, makes calls, and reconnects by itself.
//
// The server's codes are errors: errors.Is(err, wire.NotFriends). docs/consumers.md has the calls and the subjects.
package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"imctl/bridge/wire"
)

// attemptTimeout limits one attempt to send a dialogue, or to make a call.
const attemptTimeout = 10 * time.Second

// ErrClosed is the error of a client after [Client.Close].
var ErrClosed = errors.New("client: closed")

var errNoID = errors.New("the id of the user is unknown: set ID")

// A Config says how to connect.
type Config struct {
	// URL is the address of NATS; empty: nats://127.0.0.1:4222.
	URL string
	// ID is the id of the user.
	ID string
	// Account and Password are the credentials. Without Account, ID is used, with which Password may be a token.
	Account, Password string
	// CA is a file with certificates of authorities, in PEM; empty: those of the system.
	CA string
	// Context is a NATS context, which replaces the fields above: the name of a context of the nats tool, or a file. ID may be
	// empty if the context has the inbox_prefix of the user, and for a service, whose id the server tells.
	Context string
	// Prefix is the setting nats.prefix of the server; empty: im.
	Prefix string
	// Notice, if set, is called with the news of the server. [Client.Dialogues] calls it, between two dialogues.
	Notice func(context.Context, Notice)
	// Options are further options of the connection.
	Options []nats.Option
}

// A Notice is news of the server. Code says which, and which other fields are set.
type Notice struct {
	Code    wire.Code
	ID      string // the friend
	N       uint64 // of wire.DialogueDelivered and wire.DialogueRead
	Own     bool   // of wire.DialogueRead: the user has read them, on another device
	Request Person // of wire.FriendApply
	Friend  Person // of wire.FriendAdded
}

// A Person is another user. Note is that of a request.
type Person struct{ ID, Name, Note string }

// A Client is a connection of a user. Its methods may be called concurrently.
type Client struct {
	config Config
	id     string
	name   string // of the context's user, which may be a service
	nc     *nats.Conn
	wake   chan struct{} // has room for one: something is queued
	closed chan struct{} // is closed with the connection, after err is set
	loop   sync.Mutex    // held by Dialogues

	mu     sync.Mutex // guards the fields below
	err    error      // why the client ended
	queue  []event
	missed bool             // dialogues found no room in the queue
	talks  map[string]*talk // by the id of the friend
	kept   bool             // the server keeps conversations
}

// Connect logs in, and returns when the user is online. The error is nats.ErrAuthorization if the credentials are wrong.
func Connect(ctx context.Context, config Config) (*Client, error) {
	config.URL, config.Prefix = cmp.Or(config.URL, nats.DefaultURL), cmp.Or(config.Prefix, "im")
	c := &Client{config: config, id: config.ID, talks: make(map[string]*talk), wake: make(chan struct{}, 1), closed: make(chan struct{})}
	if err := c.connect(); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	// The subscription makes the user online.
	subject := config.Prefix + ".user." + c.id
	_, err := c.nc.Subscribe(subject+".notice", c.receiveNotice)
	if err == nil {
		_, err = c.nc.Subscribe(subject+".dialogue", c.receive)
	}
	if err == nil {
		err = c.nc.FlushWithContext(ctx)
	}
	if err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("connect: %w", err)
	}
	c.push(event{login: true})
	return c, nil
}

func (c *Client) connect() (err error) {
	options := append([]nats.Option{nats.Name("imctl client"), nats.MaxReconnects(-1), nats.CustomReconnectDelay(backoff),
		nats.Timeout(attemptTimeout),
		nats.ReconnectHandler(func(*nats.Conn) { c.push(event{login: true}) }),
		nats.ClosedHandler(func(nc *nats.Conn) { // by Close, or after two refusals in a row
			c.end(cmp.Or(nc.LastError(), ErrClosed))
			close(c.closed)
		})}, c.config.Options...)
	if c.config.Context != "" {
		var settings natscontext.Settings
		if c.nc, settings, err = natscontext.Connect(c.config.Context, options...); err != nil {
			return err
		}
		c.name = settings.User
		if c.id = cmp.Or(c.id, strings.TrimPrefix(settings.InboxPrefix, "_INBOX.")); c.id == "" {
			c.id, err = c.self()
		}
		if err != nil {
			c.nc.Close()
			err = fmt.Errorf("%w: %w", errNoID, err)
		}
		return err
	}
	if c.id == "" {
		return errNoID
	}
	options = append(options, nats.UserInfo(cmp.Or(c.config.Account, c.id), c.config.Password), nats.CustomInboxPrefix("_INBOX."+c.id))
	if c.config.CA != "" {
		options = append(options, nats.RootCAs(c.config.CA))
	}
	c.nc, err = nats.Connect(c.config.URL, options...)
	return err
}

// self returns the id of the user of a service.
func (c *Client) self() (string, error) {
	var answer struct{ User struct{ ID string } }
	err := c.call(context.Background(), "service", c.name, "self", nil, &answer)
	if err == nil && answer.User.ID == "" {
		err = errors.New("the server tells no id")
	}
	return answer.User.ID, err
}

// ID returns the id of the user.
func (c *Client) ID() string { return c.id }

// Close sends what is on its way, disconnects, and ends [Client.Dialogues].
func (c *Client) Close() error {
	c.end(ErrClosed)
	err := c.nc.Drain()
	if err != nil { // the connection is lost
		c.nc.Close()
	}
	<-c.closed
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionReconnecting) {
		return nil
	}
	return err
}

// Err returns why the client ended: [ErrClosed], or nats.ErrAuthorization if the server refuses the credentials, after which
// it does not reconnect. It is nil before.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// end sets why the client ended, once.
func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = cmp.Or(c.err, err)
}

// Send sends a dialogue, and returns it with its number. On a server that keeps conversations it returns when the dialogue
// is stored. Until then it sends the dialogue again after each failure, with the same id, so that it is stored once.
// Otherwise the dialogue is with a client of the friend, or the error has the code wire.SendFailed or wire.PeerOffline.
func (c *Client) Send(ctx context.Context, d Dialogue) (Dialogue, error) {
	d.ID = cmp.Or(d.ID, rand.Text())
	for attempt := 0; ; attempt++ {
		var answer Dialogue
		err := c.request(ctx, "send."+c.id, d, &answer)
		if err == nil {
			d.N, d.At, d.From, d.With = answer.N, answer.At, c.id, d.To
			c.skip(d)
			return d, nil
		}
		var code wire.Code
		refused := errors.As(err, &code) && (!c.keeps() || code != wire.SendFailed && code != wire.InternalError)
		if refused || !c.pause(ctx, attempt) {
			return d, fmt.Errorf("send to %s: %w", d.To, err)
		}
	}
}

// Call makes a call by its name, such as "people", once, and stores its answer in what answer points to, unless it is nil.
func (c *Client) Call(ctx context.Context, name string, fields map[string]any, answer any) error {
	return c.call(ctx, "call", c.id, name, fields, answer)
}

// Read makes a call that reads users, friendships or presence, such as "user", as a service whose Context has the client.
func (c *Client) Read(ctx context.Context, name string, fields map[string]any, answer any) error {
	return c.call(ctx, "read", c.name, name, fields, answer)
}

// Befriend makes a user with an id a friend of a service that may do so: one added with --befriend. It changes nothing if
// they are friends. The error is wire.NotFriends if the user has removed or blocked the service.
func (c *Client) Befriend(ctx context.Context, id string) error {
	return c.call(ctx, "service", c.name, "befriend", map[string]any{"id": id}, nil)
}

// call makes a call as self: the user, or the service.
func (c *Client) call(ctx context.Context, kind, self, name string, fields map[string]any, answer any) error {
	if fields == nil {
		fields = map[string]any{}
	}
	err := errors.New("the client is no service: set Context")
	if self != "" {
		err = c.request(ctx, kind+"."+self+"."+name, fields, answer)
	}
	if err != nil {
		return fmt.Errorf("call %s: %w", name, err)
	}
	return nil
}

// Accept accepts a friend request.
func (c *Client) Accept(ctx context.Context, request Person) error {
	return c.Call(ctx, "add", map[string]any{"from": request.ID, "name": request.Name}, nil)
}

func (c *Client) request(ctx context.Context, subject string, body, answer any) error {
	if err := c.Err(); err != nil {
		return err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, c.config.Prefix+"."+subject, text)
	if err != nil {
		return cmp.Or(c.Err(), err)
	}
	var head struct{ Code wire.Code }
	if err := json.Unmarshal(m.Data, &head); err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	if head.Code != wire.Success && head.Code != wire.DialogueKept {
		return head.Code
	}
	if answer != nil {
		err = json.Unmarshal(m.Data, answer)
	}
	return err
}

// pause waits before another attempt. It returns false if ctx or the client ends.
func (c *Client) pause(ctx context.Context, attempt int) bool {
	timer := time.NewTimer(backoff(attempt))
	defer timer.Stop()
	select {
	case <-timer.C:
		return c.Err() == nil
	case <-ctx.Done():
	case <-c.closed:
	}
	return false
}

// backoff returns the pause after a number of failed attempts: up to half a minute, with jitter.
func backoff(attempts int) time.Duration {
	pause := min(30*time.Second, time.Second<<min(attempts, 5))
	return time.Duration(float64(pause) * (0.7 + 0.6*mathrand.Float64()))
}
