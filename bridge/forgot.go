package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"imctl/bridge/limit"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Somebody who forgot a password is mailed a code, and sets a new password by it. Whether there is such an account is
// nobody's business but its owner's: the call is answered before anything is looked up.
const (
	codeLife  = 15 * time.Minute
	codeTries = 10

	mailsAtOnce = 2
	mailQueue   = 256 // calls that wait; what does not fit is dropped, and whoever waits for a mail asks again
	mailWait    = 45 * time.Second

	// refusalPause is the least time that a refused code takes: what a right account costs more than a wrong one, a
	// write that waits for the disk, is well below it.
	refusalPause = 250 * time.Millisecond
)

// codeAlphabet has 32 characters, so that each stands for 5 bits, and none that looks like another.
const codeAlphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// newCode is 40 random bits.
func newCode() string {
	var b [8]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = codeAlphabet[b[i]%32]
	}
	return string(b[:])
}

// spelled is a code as it is shown, and typed the code as it was made, however it was copied from there.
func spelled(code string) string { return code[:4] + "-" + code[4:] }

func typed(code string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(code))
}

// post works off the calls of those who forgot their password.
type post struct {
	bridge *Bridge
	mailer *Mailer
	queue  chan wire.Forgot
	ctx    context.Context // ends with the bridge
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

func newPost(b *Bridge, m *Mailer) *post {
	p := &post{bridge: b, mailer: m, queue: make(chan wire.Forgot, mailQueue)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	for range mailsAtOnce {
		p.wg.Go(p.run)
	}
	return p
}

// close gives up what is under way: whoever waits for a mail asks again.
func (p *post) close() {
	p.stop()
	p.wg.Wait()
}

// add does not wait, and says nothing of what becomes of it.
func (p *post) add(f wire.Forgot) {
	select {
	case p.queue <- f:
	default:
		p.bridge.log.Warn("too many forgotten passwords at once: one was dropped")
	}
}

func (p *post) run() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case f := <-p.queue:
			p.handle(f)
		}
	}
}

func (p *post) handle(f wire.Forgot) {
	defer recovered(p.bridge.log, "forgotten password")
	ctx, cancel := context.WithTimeout(p.ctx, mailWait)
	defer cancel()
	limits := p.bridge.limits.Load()
	u, code, err := p.bridge.service.forgotten(ctx, f, limits.forgottenByAccount)
	if err == nil && code != "" {
		err = p.mailer.Send(ctx, u.Mail, "Your code for a new password", codeMail(u, code))
	}
	if err != nil && p.ctx.Err() == nil {
		p.bridge.log.Warn("the code for a new password was not sent", "user", u.ID, "err", err)
	}
}

func codeMail(u kv.User, code string) string {
	return fmt.Sprintf("Somebody, we hope you, asked for a new password for the account\n\n    %s\n\n"+
		"The code to set it with is\n\n    %s\n\n"+
		"It is good once, within %d minutes. If it was not you, there is nothing to do:\nthe password stays as it is.\n",
		u.Account, spelled(code), int(codeLife.Minutes()))
}

// forgotten makes a code for the user whom account and mail belong to; without one, or past the rate, it is "". What is
// kept of it is a hash like a password's: it would take longer to find it from there than it is good for. It is made
// in any case, since whoever asks may feel the machine at work.
func (s *Service) forgotten(ctx context.Context, f wire.Forgot, rate *limit.Keyed) (kv.User, string, error) {
	code := newCode()
	hash, err := s.o.Hasher.Hash(ctx, code)
	if err != nil {
		return kv.User{}, "", err
	}
	u, err := s.kv.Users.ByAccount(ctx, f.Account)
	if errors.Is(err, kv.ErrUserNotFound) {
		return kv.User{}, "", nil
	}
	if err != nil {
		return kv.User{}, "", err
	}
	if u.Disabled || kv.FoldAccount(u.Mail) != kv.FoldAccount(f.Mail) || !rate.Allow(u.ID) {
		return u, "", nil
	}
	return u, code, s.kv.Resets.Put(ctx, u.ID, hash, codeLife, codeTries)
}

// ResetPassword gives the account another password if the code is its own, and uses the code up. Its tokens are revoked
// and its sessions end. It returns wire.WrongCredentials for any other account or code.
func (s *Service) ResetPassword(ctx context.Context, r wire.Reset) error {
	u, err := s.kv.Users.ByAccount(ctx, r.Account)
	if err != nil && !errors.Is(err, kv.ErrUserNotFound) {
		return err
	}
	code := "" // its hash; without one, Verify takes as long, and refuses
	if err == nil && !u.Disabled {
		if code, err = s.kv.Resets.Try(ctx, u.ID); err != nil && !errors.Is(err, kv.ErrNoReset) {
			return err
		}
	}
	v, err := s.o.Hasher.Verify(ctx, code, typed(r.Code))
	if err != nil {
		return err
	}
	if !v.OK {
		return wire.WrongCredentials
	}
	hash, err := s.o.Hasher.Hash(ctx, r.Password)
	if err != nil {
		return err
	}
	if err := s.kv.Resets.Use(ctx, u.ID, code); errors.Is(err, kv.ErrNoReset) {
		return wire.WrongCredentials // somebody was quicker
	} else if err != nil {
		return err
	}
	return s.setHash(ctx, u.ID, hash)
}

func (b *Bridge) forgot(_ context.Context, w http.ResponseWriter, r *http.Request) (answer, error) {
	body, err := b.body(w, r)
	if err != nil {
		return nil, err
	}
	f, code := wire.ParseForgot(body)
	if code != 0 {
		return nil, code
	}
	if !b.limits.Load().forgottenByAddress.Allow(limit.ClientKey(r, b.o.TrustedProxies)) {
		return nil, errLimited
	}
	b.post.add(f)
	return nil, nil
}

// reset counts a wrong code as a login that failed.
func (b *Bridge) reset(ctx context.Context, w http.ResponseWriter, r *http.Request) (answer, error) {
	pause := time.NewTimer(refusalPause)
	defer pause.Stop()
	body, err := b.body(w, r)
	if err != nil {
		return nil, err
	}
	in, code := wire.ParseReset(body)
	if code != 0 {
		return nil, code
	}
	l, address, account := b.limits.Load(), limit.ClientKey(r, b.o.TrustedProxies), kv.FoldAccount(in.Account)
	if !l.logins.Allow(address) || !l.failuresByAddress.Peek(address) || !l.failuresByAccount.Peek(account) {
		return nil, errLimited
	}
	err = b.service.ResetPassword(ctx, in)
	if errors.Is(err, wire.WrongCredentials) {
		l.failuresByAddress.Take(address)
		l.failuresByAccount.Take(account)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	return nil, err
}
