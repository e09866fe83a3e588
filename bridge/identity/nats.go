package identity

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/subject"
	"imctl/kv"
)

// DirectoryOptions configure a Directory.
type DirectoryOptions struct {
	Conn    *nats.Conn
	Prefix  subject.Prefix
	Timeout time.Duration // of a request
	Places  kv.Queue      // bounds the requests under way
	Log     *slog.Logger
}

// Directory is the mode NATS: it asks a program with the role auth.
type Directory struct {
	o DirectoryOptions

	mu      sync.Mutex // guards the fields below
	silent  time.Time  // when a warning was logged last
	asked   time.Time  // when the last question ended
	problem string     // of the last question, "" if it was answered
	probe   *probe     // under way; nil: none is
}

// NewDirectory returns a Directory.
func NewDirectory(o DirectoryOptions) *Directory { return &Directory{o: o} }

// Name returns NATS.
func (d *Directory) Name() string { return NATS }

// directoryRequest is a request to a program. Password and Address are not in a lookup.
type directoryRequest struct {
	Account  string `json:"account"`
	Password string `json:"password,omitempty"`
	Address  string `json:"address,omitempty"`
}

// directoryReply is the reply of a program.
type directoryReply struct {
	Result         string `json:"result"`
	Account        string `json:"account"` // spelled as it should be; "": as in the request
	Subject        string `json:"subject"`
	Name           string `json:"name"`
	Mail           string `json:"mail"`
	MailUnverified bool   `json:"mail_unverified"`
	Picture        string `json:"picture"`
}

// Check asks for an account and a password.
func (d *Directory) Check(ctx context.Context, c Credentials) (Person, error) {
	return d.ask(ctx, d.o.Prefix.AuthLogin(), directoryRequest(c))
}

// Lookup asks for an account.
func (d *Directory) Lookup(ctx context.Context, account string) (Person, error) {
	p, err := d.ask(ctx, d.o.Prefix.AuthLookup(), directoryRequest{Account: account})
	if errors.Is(err, ErrRefused) {
		err = ErrUnknown
	}
	return p, err
}

// errReply: a program does not follow the rules. Its reply may hold secrets, so that no error repeats it.
var errReply = errors.New("the reply of the program with the role auth is not valid")

// ask sends a request and reads the reply. Without a valid reply the error is kv.ErrBusy.
func (d *Directory) ask(ctx context.Context, on string, r directoryRequest) (Person, error) {
	leave, err := d.o.Places.Enter(ctx)
	if err != nil {
		return Person{}, err
	}
	defer leave()
	body, err := json.Marshal(r)
	if err != nil {
		return Person{}, err
	}
	waiting, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
	m, err := d.o.Conn.RequestWithContext(waiting, on, body)
	if ctx.Err() != nil {
		return Person{}, ctx.Err()
	}
	var reply directoryReply
	if err == nil && json.Unmarshal(m.Data, &reply) != nil {
		err = errReply
	}
	if err != nil {
		return Person{}, d.busy(on, err)
	}
	switch reply.Result {
	case Yes:
	case No:
		d.answered("")
		return Person{}, ErrRefused
	case Unknown:
		d.answered("")
		return Person{}, ErrUnknown
	default:
		return Person{}, d.busy(on, errReply)
	}
	p := Person{Source: NATS, Subject: reply.Subject, Account: cmp.Or(reply.Account, r.Account), Name: reply.Name, Mail: reply.Mail,
		MailUnverified: reply.MailUnverified, Picture: reply.Picture}
	if kv.FoldAccount(p.Account) != kv.FoldAccount(r.Account) {
		return Person{}, d.busy(on, fmt.Errorf("%w: it is about another account", errReply))
	}
	d.answered("")
	return p, nil
}

// silence is the least time between two warnings.
const silence = time.Minute

// busy returns kv.ErrBusy, and logs the reason unless another one was logged lately.
func (d *Directory) busy(on string, err error) error {
	why := err
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		why = errors.New("no program with the role auth is connected")
	case errors.Is(err, context.DeadlineExceeded):
		why = errors.New("no reply within auth.nats.timeout")
	}
	d.answered(why.Error())
	d.mu.Lock()
	due := time.Since(d.silent) >= silence
	if due {
		d.silent = time.Now()
	}
	d.mu.Unlock()
	if due {
		d.o.Log.Warn("users cannot sign in by auth.modes nats", "subject", on, "err", why)
	}
	return fmt.Errorf("%w: %w", kv.ErrBusy, err)
}

// answered notes how a question ended: "" for a valid reply, or why there was none.
func (d *Directory) answered(problem string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked, d.problem = time.Now(), problem
}

const (
	// probeAccount is looked up to find out whether a program answers. Whether the program knows it does not matter.
	probeAccount = "imctl-status"
	// probeAge is for how long an answer shows that the program is there.
	probeAge = 10 * time.Second
)

// probe is a lookup that finds out whether a program answers.
type probe struct{ done chan struct{} }

// Problem returns why the last question was not answered. Unless one was answered a moment ago, it looks an account up.
func (d *Directory) Problem(ctx context.Context) string {
	d.mu.Lock()
	if d.problem == "" && time.Since(d.asked) < probeAge {
		d.mu.Unlock()
		return ""
	}
	if d.probe == nil {
		d.probe = &probe{make(chan struct{})}
		go d.runProbe(d.probe)
	}
	done := d.probe.done
	d.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.problem
}

func (d *Directory) runProbe(p *probe) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*d.o.Timeout)
	defer cancel()
	_, err := d.Lookup(ctx, probeAccount)
	d.o.Log.Debug("asked whether a program with the role auth answers", "err", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.probe = nil
	close(p.done)
}
