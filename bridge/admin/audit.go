package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/micro"

	"imctl/bridge/audit"
)

// Audit records what administrators do. audit.Trail is one.
type Audit interface {
	Add(audit.Event)
	// Flush returns when the events are stored, or cannot be stored at the moment.
	Flush(context.Context) error
}

// actorHeader has the name that the client of an administrator gives.
const actorHeader = "Imctl-Actor"

// auditWait bounds how long the answer to a command waits for its entry.
const auditWait = 2 * time.Second

// unaudited are the verbs that change nothing and show neither dialogues nor password hashes.
var unaudited = []string{"list", "show", "lookup", "status"}

// audited reports whether the trail records requests to the endpoint.
func (e endpoint) audited() bool { return !slices.Contains(unaudited, e.verb) || e.noun == "talk" }

// AuditKinds returns the kinds of the entries that actions of administrators have.
func AuditKinds() (all []audit.Kind) {
	for _, e := range new(Service).endpoints() {
		if e.audited() {
			all = append(all, audit.Admin(e.noun, e.verb))
		}
	}
	return all
}

// action is a request of an administrator on its way to the audit trail.
type action struct {
	s     *Service
	event audit.Event
}

// beginAction returns the action of a request, or nil if the trail does not record it. It finds the user now, since the
// action may remove it.
func (s *Service) beginAction(ctx context.Context, e endpoint, r micro.Request) *action {
	if s.o.Audit == nil || !e.audited() {
		return nil
	}
	var request struct {
		User, Friend, Name, Filter string
		Role                       string
		Sessions, Tokens           []string
		Users                      []json.RawMessage
		With, After                string
		Before                     json.RawMessage
		Filters, Events            []string
		Talks                      []json.RawMessage
	}
	if err := json.Unmarshal(r.Data(), &request); err != nil {
		request.User = "" // an import has records as its users, and a malformed request is refused
	}
	if e.noun == "talk" && request.After != "" { // the first page is recorded
		return nil
	}
	a := &action{s: s, event: audit.Event{Event: audit.Admin(e.noun, e.verb), Actor: audit.Ref{Kind: audit.Administrator, ID: s.actor(r)}}}
	switch {
	case e.noun == "attach":
		a.event.Subject = audit.Ref{Kind: audit.Attachment, ID: request.Name}
		a.event.Detail = strings.Join(strings.Fields(request.Role+" "+request.User+" "+request.Filter+" "+strings.Join(request.Filters, " ")), " ")
	case e.noun == "webhook", e.noun == "failed":
		a.event.Subject, a.event.Detail = audit.Ref{Kind: audit.Webhook, ID: request.Name}, strings.Join(request.Events, " ")
	case e.noun == "cluster":
		a.event.Detail = request.Name
	case e.noun == "log":
		a.event.Detail = request.Filter
	case request.User != "":
		if u, err := s.resolve(ctx, request.User); err == nil {
			a.event.Subject = audit.Ref{Kind: audit.User, ID: u.ID}
		}
	}
	switch {
	case request.With != "":
		a.event.Detail = "with " + request.With
		if u, err := s.resolve(ctx, request.With); err == nil {
			a.event.Detail = "with " + u.ID
		}
	case e.noun == "talk" && e.verb == "purge" && request.User == "":
		a.event.Detail = "before " + strings.Trim(string(request.Before), `"`)
	case len(request.Talks) > 0:
		a.event.Detail = fmt.Sprintf("%d conversations", len(request.Talks))
	case request.Friend != "":
		if u, err := s.resolve(ctx, request.Friend); err == nil {
			a.event.Detail = "friend " + u.ID
		}
	case len(request.Users) > 0:
		a.event.Detail = fmt.Sprintf("%d records", len(request.Users))
	case e.noun == "session" && len(request.Sessions) > 0:
		a.event.Detail = "sessions " + strings.Join(request.Sessions, " ")
	case e.noun == "token" && len(request.Tokens) > 0:
		a.event.Detail = fmt.Sprintf("%d tokens", len(request.Tokens))
	}
	return a
}

// actor returns the name that the client gives. NATS does not tell whose request it is.
func (s *Service) actor(r micro.Request) string {
	if name := r.Headers().Get(actorHeader); name != "" {
		return name
	}
	return "unknown"
}

// end records a completed action. It also records a failed action, since the service may have completed a part of it.
// It returns when the entry is stored. A trail that cannot be written does not refuse the action.
func (a *action) end(ctx context.Context, answer any, failed *Error) {
	if a == nil {
		return
	}
	if failed != nil && failed.Code != Failed {
		return
	}
	if failed != nil {
		a.event.Detail = strings.TrimSpace("failed " + a.event.Detail)
	}
	if created, ok := answer.(User); ok && failed == nil {
		a.event.Subject = audit.Ref{Kind: audit.User, ID: created.ID}
	}
	a.s.o.Audit.Add(a.event)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditWait)
	defer cancel()
	if err := a.s.o.Audit.Flush(ctx); err != nil {
		a.s.o.Log.Warn("an action of an administrator is not in the audit trail yet", "event", a.event.Event, "err", err)
	}
}

// actorName returns the name under which this process administers: that of its connection, with the user of the
// system and the host.
func actorName(connection string) string {
	name := connection
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	if name != connection && connection != "" {
		name = connection + " " + name
	}
	return strings.Join(strings.Fields(name), " ")
}
