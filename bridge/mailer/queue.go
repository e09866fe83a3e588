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
	queueSize  = 256 // calls that wait for a worker; further ones are dropped, and the user asks again
	jobTimeout = 45 * time.Second
)

// Resets creates the codes that a Queue mails. im.Resets is one.
type Resets interface {
	NewCode(ctx context.Context, account, mail string, allow func(user string) bool) (kv.User, string, error)
}

// Queue mails codes for forgotten passwords. A call is answered before the queue looks anything up, so that neither the
// answer nor its delay tells whether the account exists.
type Queue struct {
	mailer *Mailer
	resets Resets
	allow  func(user string) bool
	log    *slog.Logger
	jobs   chan job
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

type job struct{ account, mail string }

// NewQueue starts the workers of a queue. allow limits the codes for each user, by its id.
func NewQueue(m *Mailer, resets Resets, allow func(user string) bool, log *slog.Logger) *Queue {
	q := &Queue{mailer: m, resets: resets, allow: allow, log: log, jobs: make(chan job, queueSize)}
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

// Add queues a call for a code. It never waits.
func (q *Queue) Add(account, mail string) {
	select {
	case q.jobs <- job{account, mail}:
	default:
		q.log.Warn("too many calls for forgotten passwords at once: one was dropped")
	}
}

func (q *Queue) work() {
	for {
		select {
		case <-q.ctx.Done():
			return
		case j := <-q.jobs:
			q.handle(j)
		}
	}
}

func (q *Queue) handle(j job) {
	defer recovery.Log(q.log, "forgotten password")
	ctx, cancel := context.WithTimeout(q.ctx, jobTimeout)
	defer cancel()
	u, code, err := q.resets.NewCode(ctx, j.account, j.mail, q.allow)
	if err == nil && code != "" {
		err = q.mailer.Send(ctx, u.Mail, "Your code for a new password", resetMail(u.Account, code))
	}
	if err != nil && q.ctx.Err() == nil {
		q.log.Warn("the code for a new password was not sent", "user", u.ID, "err", err)
	}
}

func resetMail(account, code string) string {
	return fmt.Sprintf("A new password was requested for the account\n\n    %s\n\n"+
		"The code to set it with is\n\n    %s\n\n"+
		"It is valid once, within %d minutes. If you did not request it, you need not do\nanything: the password stays as it is.\n",
		account, code, int(im.ResetCodeLife.Minutes()))
}
