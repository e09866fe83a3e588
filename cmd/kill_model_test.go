package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/admin"
	"imctl/kv"
)

// accountState is the expected state of an account.
type accountState struct {
	exists, disabled     bool
	id, pass, name, sign string
}

// actorState is the expected state of one actor: two accounts, their friendship, and an attachment.
type actorState struct {
	people  [2]accountState
	asked   bool // the first user has a pending request to the second
	friends bool
	secret  string // secret of the attachment, "" if there is none
	role    kv.Role
}

// without returns the state after account i has been deleted.
func (s actorState) without(i int) actorState {
	s.people[i], s.asked, s.friends = accountState{}, false, false
	return s
}

// killActor makes changes one after the other. It computes the state after a change before it requests the change. When
// the server is killed, at most one change is unanswered, and the state is the one before or after that change.
type killActor struct {
	w      *world
	name   string
	now    actorState
	maybe  *actorState // the state after an unanswered change
	rand   *rand.Rand
	serial int
	tokens [2]string

	history []string // the changes and their results
}

func (a *killActor) account(i int) string { return fmt.Sprintf("%s-%d", a.name, i) }

// fresh returns a text that the actor has not used before.
func (a *killActor) fresh(what string) string {
	a.serial++
	return fmt.Sprintf("%s %s %d", what, a.name, a.serial)
}

// errUnanswered means that the server ended before it answered.
var errUnanswered = errors.New("no answer")

// change calls do, which requests the change to the state next. do returns errUnanswered, or an error that fails the
// test.
func (a *killActor) change(next actorState, do func() error) error {
	a.maybe = &next
	err := do()
	a.history = append(a.history, fmt.Sprintf("%s from %+v to %+v: %v", time.Now().Format("05.000"), a.now, next, err))
	if err == nil {
		a.now, a.maybe = next, nil
	}
	return err
}

// adminAnswer converts an error of the admin client for change: an error without an answer of the server becomes
// errUnanswered.
func adminAnswer(err error) error {
	var refusal *admin.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal) && refusal.Code != admin.Failed && refusal.Code != admin.Unavailable:
		return err
	}
	return errUnanswered
}

// http makes a call that must be answered 200.
func (a *killActor) http(ctx context.Context, method, path, body string) error {
	r, err := a.w.try(ctx, 0, method, path, body)
	if err != nil || r.code() == 500 || r.status >= 500 {
		return errUnanswered // a server that shuts down may answer 500
	}
	if r.body != replyBody(200) {
		return fmt.Errorf("%s %s: %s", a.name, strings.SplitN(path, "?", 2)[0], r.body)
	}
	return nil
}

// signIn gets a token for account i. It changes no state.
func (a *killActor) signIn(ctx context.Context, i int) error {
	code, answer, err := tryLogin(ctx, a.w, a.account(i), a.now.people[i].pass)
	if err != nil || code == 500 {
		return errUnanswered
	}
	if code != 200 {
		return fmt.Errorf("login of %s: %d", a.account(i), code)
	}
	a.tokens[i] = answer.Token
	return nil
}

func tryLogin(ctx context.Context, w *world, account, password string) (int, loginAnswer, error) {
	var answer loginAnswer
	c, err := w.tryDial(ctx, w.dialer(), 0, "/im/login?"+query("account", account, "password", password), nil)
	if err != nil {
		return 0, answer, err
	}
	defer c.ws.Close()
	frame, err := c.tryNext()
	if err != nil {
		return 0, answer, err
	}
	if err := json.Unmarshal([]byte(frame), &answer); err != nil {
		return 0, answer, err
	}
	if answer.Token != "" {
		w.secret(answer.Token)
	}
	return answer.Code, answer, nil
}

// step makes a random change.
func (a *killActor) step(ctx context.Context, c *admin.Client) error {
	i := a.rand.IntN(2)
	if !a.now.people[i].exists {
		if a.rand.IntN(4) == 0 {
			return a.importAccount(ctx, c, i)
		}
		return a.register(ctx, i)
	}
	switch a.rand.IntN(8) {
	case 0, 1, 2:
		if a.now.people[1-i].exists && !a.now.people[0].disabled && !a.now.people[1].disabled {
			return a.friendship(ctx)
		}
		return a.profile(ctx, i)
	case 3:
		return a.profile(ctx, i)
	case 4:
		return a.password(ctx, c, i)
	case 5:
		return a.toggleDisabled(ctx, c, i)
	case 6:
		return a.change(a.now.without(i), func() error {
			_, err := c.DeleteUser(ctx, a.account(i))
			return adminAnswer(err)
		})
	default:
		return a.attachment(ctx, c)
	}
}

func (a *killActor) register(ctx context.Context, i int) error {
	next := a.now.without(i)
	p := accountState{exists: true, pass: a.fresh("pass"), name: a.fresh("name"), sign: a.fresh("sign")}
	next.people[i] = p
	a.w.secret(p.pass)
	body, err := json.Marshal(map[string]string{"account": a.account(i), "password": p.pass, "mail": "m", "name": p.name, "sign": p.sign})
	if err != nil {
		return err
	}
	return a.change(next, func() error { return a.http(ctx, http.MethodPost, "/im/register", string(body)) })
}

// importAccount imports an account without a password. A later change sets one.
func (a *killActor) importAccount(ctx context.Context, c *admin.Client, i int) error {
	next := a.now.without(i)
	next.people[i] = accountState{exists: true, name: a.fresh("name"), sign: a.fresh("sign")}
	record := admin.Record{Version: 1, Account: a.account(i), Name: next.people[i].name, Sign: next.people[i].sign, Mail: "m"}
	return a.change(next, func() error {
		result, err := c.ImportUsers(ctx, []admin.Record{record})
		if err == nil && result.Results[0].Error != "" {
			return errors.New(result.Results[0].Error)
		}
		return adminAnswer(err)
	})
}

// friendship makes the next change in the cycle of request, add and remove.
func (a *killActor) friendship(ctx context.Context) error {
	for i := range a.now.people {
		if a.now.people[i].pass == "" {
			return nil // an imported account without a password
		}
		if err := a.signIn(ctx, i); err != nil {
			return err
		}
	}
	call := func(name string, i int, pairs ...string) func() error {
		path := "/im/friends/" + name + "?" + query(append([]string{"id", a.now.people[i].id, "token", a.tokens[i]}, pairs...)...)
		return func() error { return a.http(ctx, http.MethodGet, path, "") }
	}
	next := a.now
	switch {
	case a.now.friends:
		next.friends = false
		return a.change(next, call("remove", 0, "to", a.now.people[1].id))
	case a.now.asked:
		next.asked, next.friends = false, true
		return a.change(next, call("add", 1, "from", a.now.people[0].id, "name", "alias"))
	default:
		next.asked = true
		return a.change(next, call("request", 0, "to", a.now.people[1].id, "note", "please"))
	}
}

func (a *killActor) profile(ctx context.Context, i int) error {
	if a.now.people[i].disabled || a.now.people[i].pass == "" {
		return nil
	}
	if err := a.signIn(ctx, i); err != nil {
		return err
	}
	next := a.now
	p := &next.people[i]
	if p.sign = a.fresh("sign"); a.rand.IntN(2) == 0 {
		p.name = a.fresh("name")
	}
	body, err := json.Marshal(map[string]string{"id": p.id, "token": a.tokens[i], "sign": p.sign, "name": p.name})
	if err != nil {
		return err
	}
	return a.change(next, func() error { return a.http(ctx, http.MethodPost, "/im/profile/update", string(body)) })
}

// password sets a password. It skips disabled accounts, since a login could not tell which password is set after an
// unanswered change.
func (a *killActor) password(ctx context.Context, c *admin.Client, i int) error {
	if a.now.people[i].disabled {
		return nil
	}
	next := a.now
	next.people[i].pass = a.fresh("pass")
	a.w.secret(next.people[i].pass)
	return a.change(next, func() error {
		_, err := c.SetPassword(ctx, a.account(i), next.people[i].pass)
		return adminAnswer(err)
	})
}

func (a *killActor) toggleDisabled(ctx context.Context, c *admin.Client, i int) error {
	next := a.now
	next.people[i].disabled = !a.now.people[i].disabled
	return a.change(next, func() (err error) {
		if next.people[i].disabled {
			_, err = c.DisableUser(ctx, a.account(i))
		} else {
			_, err = c.EnableUser(ctx, a.account(i))
		}
		return adminAnswer(err)
	})
}

// attachment adds an attachment, rotates its secret, or removes it. The secret of an unanswered change stays unknown.
func (a *killActor) attachment(ctx context.Context, c *admin.Client) error {
	next := a.now
	if a.now.secret == "" {
		next.role, next.secret = kv.RoleAdmin, unknownSecret
		if a.rand.IntN(2) == 0 {
			next.role = kv.RoleConsumer
		}
		return a.change(next, func() error {
			at, err := c.AddAttachment(ctx, admin.AddAttachment{Name: a.name, Role: next.role})
			next.secret = at.Context.Password
			return adminAnswer(err)
		})
	}
	if a.rand.IntN(3) == 0 {
		next.secret = unknownSecret
		return a.change(next, func() error {
			at, err := c.RotateAttachment(ctx, a.name)
			next.secret = at.Context.Password
			return adminAnswer(err)
		})
	}
	next.secret, next.role = "", ""
	return a.change(next, func() error {
		_, err := c.RemoveAttachment(ctx, a.name)
		return adminAnswer(err)
	})
}

// unknownSecret stands for a secret that the server has created in an unanswered change.
const unknownSecret = "unknown"

// natsAccepts reports whether NATS accepts the secret of an attachment.
func natsAccepts(url, name, secret string) bool {
	nc, err := nats.Connect(url, nats.UserInfo(name, secret), nats.CustomInboxPrefix("_INBOX."+name), nats.Timeout(waitTimeout))
	if err == nil {
		nc.Close()
	}
	return err == nil
}
