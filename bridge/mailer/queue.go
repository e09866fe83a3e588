package mailer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"imctl/bridge/im"
	"imctl/bridge/recovery"
	"imctl/kv"
)

const (
	workers    = 2
	queueSize  = 256 // jobs of one kind that wait for a worker; further ones are dropped, and the user asks again
	jobTimeout = 45 * time.Second
)

// Resets creates the codes that a Queue mails. im.Resets is one.
type Resets interface {
	NewCode(ctx context.Context, account, mail string, allow func(user string) bool) (kv.User, string, error)
	NewMailCode(ctx context.Context, user string, allow func(user string) bool) (address, code string, err error)
}

// Queue mails codes and notes. A call for a forgotten password is answered before the queue looks anything up, so that
// neither the answer nor its delay tells whether the account exists.
//
// No mail has text that a user wrote, such as an account or a name: a user can enter the address of another person.
type Queue struct {
	mailer *Mailer
	resets Resets
	allow  func(user string) bool
	log    *slog.Logger
	// Calls for forgotten passwords come from unauthenticated clients. They do not displace other mail.
	forgotten chan job
	accounts  chan job
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	wg        sync.WaitGroup
}

// job sends one mail. It returns the id of the user, "" if unknown.
type job struct {
	what string // what is sent, for the log
	send func(context.Context) (user string, err error)
}

// NewQueue starts the workers of a queue. allow limits the mails for each user and purpose. Its key is the user's id for
// a forgotten password, and for other mail a prefix and the id.
func NewQueue(m *Mailer, resets Resets, allow func(user string) bool, log *slog.Logger) *Queue {
	q := &Queue{mailer: m, resets: resets, allow: allow, log: log, forgotten: make(chan job, queueSize), accounts: make(chan job, queueSize)}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	for range workers {
		q.wg.Go(q.work)
	}
	return q
}

// Close abandons the queued and the running jobs. A user that waits for a mail asks again.
func (q *Queue) Close() {
	q.cancel()
	q.wg.Wait()
}

// Add queues a call for the code of a forgotten password. It never waits.
func (q *Queue) Add(account, mail string) {
	q.add(q.forgotten, job{"the code for a new password", func(ctx context.Context) (string, error) {
		u, code, err := q.resets.NewCode(ctx, account, mail, q.allow)
		if err == nil && code != "" {
			err = q.mailer.Send(ctx, u.Mail, "Your code for a new password", resetMail(code))
		}
		return u.ID, err
	}})
}

// SendCode implements im.Mail.
func (q *Queue) SendCode(user string) {
	q.add(q.accounts, job{"the code that verifies an address", func(ctx context.Context) (string, error) {
		address, code, err := q.resets.NewMailCode(ctx, user, func(user string) bool { return q.allow("verify." + user) })
		if err == nil && code != "" {
			err = q.mailer.Send(ctx, address, "Your code to verify this address", verifyMail(code))
		}
		return user, err
	}})
}

// SendNote implements im.Mail.
func (q *Queue) SendNote(user, address string, n im.Note) {
	q.add(q.accounts, job{"the note about a changed account", func(ctx context.Context) (string, error) {
		if !q.allow("note." + user) {
			return user, nil
		}
		subject, text := noteMail(n)
		return user, q.mailer.Send(ctx, address, subject, text)
	}})
}

func (q *Queue) add(to chan job, j job) {
	select {
	case to <- j:
	default:
		q.log.Warn("too many mails at once: one was dropped", "mail", j.what)
	}
}

func (q *Queue) work() {
	for {
		select {
		case <-q.ctx.Done():
			return
		case j := <-q.forgotten:
			q.handle(j)
		case j := <-q.accounts:
			q.handle(j)
		}
	}
}

func (q *Queue) handle(j job) {
	defer recovery.Log(q.log, "mail")
	ctx, cancel := context.WithTimeout(q.ctx, jobTimeout)
	defer cancel()
	user, err := j.send(ctx)
	if err != nil && q.ctx.Err() == nil {
		q.log.Warn(j.what+" was not sent", "user", user, "err", err)
	}
}

func resetMail(code string) string {
	return fmt.Sprintf("A new password was requested for the account with this mail address. The code\nto set it with is\n\n    %s\n\n"+
		"It is valid once, within %d minutes. If you did not request it, you need not do\nanything: the password stays as it is.\n",
		code, int(im.ResetCodeLife.Minutes()))
}

func verifyMail(code string) string {
	return fmt.Sprintf("This mail address was entered for an account. The code to verify it is\n\n    %s\n\n"+
		"It is valid once, within %d hours. If you did not enter the address, you need not\ndo anything.\n",
		code, int(im.MailCodeLife.Hours()))
}

func noteMail(n im.Note) (subject, text string) {
	const advice = "If you did not do this, set a new password now, or ask the administrator of the\nserver for help.\n"
	if n == im.MailChanged {
		return "Your mail address was changed",
			"The account with this mail address now has another one. This address gets no more\nmail for it.\n\n" + advice
	}
	return "Your password was changed", "The account with this mail address has a new password.\n\n" + advice
}
