// Package listener finds streams and subscriptions that cover the subjects of dialogues to users, such as a stream of
// all subjects, or nats sub '>'. A user is online while its dialogue subject has a subscription. So a listener on the
// subjects of all users makes everyone look online.
package listener

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
)

const (
	checkEvery   = 30 * time.Second // interval of checks
	suspectEvery = 2 * time.Second  // shortest interval of checks after a suspicion
	silence      = 500 * time.Millisecond
	checkWait    = 5 * time.Second
	listWait     = time.Second // for the answers of all NATS servers
	mostNames    = 8           // listeners that are named
)

// Options configure a Watcher.
type Options struct {
	NC       *nats.Conn
	Prefix   subject.Prefix
	System   *nats.Conn // of NATS's system account, which can name the clients that subscribe; nil: none
	Account  string     // of NC, as the system account knows it
	Registry prometheus.Registerer
	Log      *slog.Logger
}

// Watcher looks for listeners. Its methods are safe for concurrent use.
type Watcher struct {
	opts     Options
	js       jetstream.JetStream
	found    atomic.Pointer[string] // nil: there is no listener
	suspects chan struct{}
}

// New returns a watcher that has not looked yet.
func New(opts Options) (*Watcher, error) {
	js, err := natsutil.JetStream(opts.NC)
	if err != nil {
		return nil, fmt.Errorf("look for listeners: %w", err)
	}
	w := &Watcher{opts: opts, js: js, suspects: make(chan struct{}, 1)}
	opts.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imctl_presence_broken",
		Help: "1 while a stream or a subscription of a NATS client covers the subjects of all users, so that they look online."},
		func() float64 {
			if w.Found() {
				return 1
			}
			return 0
		}))
	return w, nil
}

// Found reports whether a listener covers the subjects of users.
func (w *Watcher) Found() bool { return w.found.Load() != nil }

// Err returns an error that names the listeners, and nil if there is none.
func (w *Watcher) Err() error {
	if names := w.found.Load(); names != nil {
		return fmt.Errorf("presence is broken, since a listener covers the subjects of users: %s", *names)
	}
	return nil
}

// Suspect requests a check, since a user that looked online did not answer.
func (w *Watcher) Suspect() {
	select {
	case w.suspects <- struct{}{}:
	default:
	}
}

// Run checks at intervals, and after a suspicion, until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.suspects:
			if time.Since(last) < suspectEvery {
				continue
			}
		}
		last = time.Now()
		if err := w.Check(ctx); err != nil && ctx.Err() == nil {
			w.opts.Log.Debug("look for listeners on the subjects of users", "err", err)
		}
	}
}

// Check asks the dialogue subject of a user that does not exist. Only a listener keeps NATS from answering that there is
// no subscription. After an error the last result stays.
func (w *Watcher) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	heard, err := w.ask(ctx)
	if err != nil {
		return err
	}
	names := ""
	if heard {
		names = w.names(ctx)
	}
	if heard && names == "" { // no stream or client: it is not listed, or it has ended meanwhile
		if heard, err = w.ask(ctx); err != nil {
			return err
		}
		names = "a subscription of a NATS client"
	}
	if !heard {
		if w.found.Swap(nil) != nil {
			w.opts.Log.Info("no listener covers the subjects of users any more")
		}
		return nil
	}
	if before := w.found.Swap(&names); before == nil || *before != names {
		w.opts.Log.Error("a listener covers the subjects of users, so users that are offline look online: remove it, or restrict it to other subjects",
			"listener", names, "subject", w.opts.Prefix.Dialogue("*"))
	}
	return nil
}

// ask reports whether a request to a user that does not exist is heard.
func (w *Watcher) ask(ctx context.Context) (bool, error) {
	quiet, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	_, err := w.opts.NC.RequestWithContext(quiet, w.subject(), nil)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, nats.ErrNoResponders):
		return false, nil
	case !errors.Is(err, context.DeadlineExceeded):
		return false, err
	}
	// NATS answers that there is no subscription before it answers a ping. If it answers neither, nothing is known.
	return true, w.opts.NC.FlushWithContext(ctx)
}

// subject returns the dialogue subject of a user that does not exist.
func (w *Watcher) subject() string {
	return w.opts.Prefix.Dialogue("nobody-" + strings.ReplaceAll(nats.NewInbox(), ".", "-"))
}

// names returns the streams and clients that cover a user's subject, as far as NATS tells, and "" for none.
func (w *Watcher) names(ctx context.Context) string {
	on := w.subject()
	streams := w.js.StreamNames(ctx, jetstream.WithStreamListSubject(on))
	var all []string
	for name := range streams.Name() {
		all = append(all, "stream "+name)
	}
	if err := streams.Err(); err != nil {
		w.opts.Log.Debug("list the streams that cover the subjects of users", "err", err)
	}
	clients, err := w.clients(ctx, on)
	if err != nil {
		w.opts.Log.Debug("list the NATS clients that subscribe to the subjects of users", "err", err)
	}
	all = append(all, clients...)
	slices.Sort(all)
	if more := len(all) - mostNames; more > 0 {
		all = append(all[:mostNames], fmt.Sprintf("%d more", more))
	}
	return strings.Join(all, ", ")
}

// client is a connection as its NATS server lists it.
type client struct {
	Name string `json:"name"`
	User string `json:"authorized_user"`
	IP   string `json:"ip"`
	Port int    `json:"port"`
}

func (c client) String() string {
	text := "client"
	if c.Name != "" {
		text += fmt.Sprintf(" %q", c.Name)
	}
	if c.User != "" {
		text += fmt.Sprintf(" of user %q", c.User)
	}
	if c.IP != "" {
		text += " at " + net.JoinHostPort(c.IP, strconv.Itoa(c.Port))
	}
	return text
}

// clients asks all NATS servers for the connections with a subscription that covers a subject.
func (w *Watcher) clients(ctx context.Context, on string) (all []string, err error) {
	if w.opts.System == nil {
		return nil, nil
	}
	request, err := json.Marshal(map[string]any{"acc": w.opts.Account, "auth": true, "filter_subject": on, "limit": mostNames + 1})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, listWait)
	defer cancel()
	sub, err := w.opts.System.SubscribeSync(w.opts.System.NewInbox())
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails if the connection is closed
	if err := w.opts.System.PublishRequest(subject.ListConnections, sub.Subject, request); err != nil {
		return nil, err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return all, nil // all servers have answered, or those that answer
		}
		if err != nil {
			return all, err
		}
		var answer struct {
			Data struct {
				Connections []client `json:"connections"`
			} `json:"data"`
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return all, fmt.Errorf("answer of a NATS server: %w", err)
		}
		for _, c := range answer.Data.Connections {
			all = append(all, c.String())
		}
	}
}
