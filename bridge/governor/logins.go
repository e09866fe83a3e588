package governor

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// knownSize bounds the known devices, which take about 10 MB.
const knownSize = 1 << 16

// known are the devices that have registered or logged in since the start. A device is an account and an address.
type known struct {
	mu      sync.Mutex
	devices *simplelru.LRU[tableKey, struct{}]
}

func newKnown() *known {
	devices, err := simplelru.NewLRU[tableKey, struct{}](knownSize, nil)
	if err != nil {
		panic(err) // impossible: the only error is a size below 1
	}
	return &known{devices: devices}
}

func deviceKey(account, address string) tableKey { return keyOf("", account+"\x00"+address) }

func (k *known) add(account, address string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.devices.Add(deviceKey(account, address), struct{}{})
}

func (k *known) has(account, address string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.devices.Get(deviceKey(account, address))
	return ok
}

// Attempt is a login by password that is being checked. Its caller must call Settle.
type Attempt struct {
	g                *Governor
	address, account string
	class            Class
	charges          []charge // taken back unless the login fails
	counted          []charge // taken back only if the login was not decided
	device           bool     // the device is known
}

// Login counts a login by password before it is checked, so that logins in flight cannot exceed the limit. address is
// that of the client, and account the folded account. programs marks NATS clients.
//
// A device that has logged in to the account before has its own budget of failures, and its own share of the places to
// hash. So no other client can lock it out or delay it. All other devices share the account's budget. An address with
// too many failures is not refused, since other people may be behind it: its logins get the smallest share.
//
// Errors: ErrLimited.
func (g *Governor) Login(ctx context.Context, address, account string, programs bool) (*Attempt, error) {
	a := &Attempt{g: g, address: address, account: account, class: People, device: g.known.has(account, address)}
	if programs {
		a.class = Programs
	}
	o, now := g.opts.Load(), time.Now()
	if !a.device {
		logins := byAddress(Logins, address, o.Logins)
		full, wait, ok := g.budgets.takeAll(now, logins...)
		switch {
		case ok:
			a.counted = logins
		case !a.recognise(ctx):
			return nil, g.refuse(full.reason, full.key, wait)
		}
	}
	if !a.device {
		failures := charge{AccountFailures, account, o.LoginFailures}
		_, wait, ok := g.budgets.takeAll(now, failures)
		switch {
		case ok:
			a.charges = append(a.charges, failures)
		case !a.recognise(ctx):
			return nil, g.refuse(AccountFailures, address, wait)
		}
	}
	if a.device {
		a.class = Known
		own := charge{AccountFailures, account + "\x00" + address, o.LoginFailures}
		if _, wait, ok := g.budgets.takeAll(now, own); !ok {
			return nil, g.refuse(AccountFailures, address, wait)
		}
		a.charges = append(a.charges, own)
		return a, nil
	}
	slow := byAddress(AddressFailures, address, o.LoginFailures.times(addressFailures))
	if _, _, ok := g.budgets.takeAll(now, slow...); ok {
		a.charges = append(a.charges, slow...)
	} else if !a.recognise(ctx) {
		g.journal.add(AddressFailures, address)
		a.class = Suspects
	}
	return a, nil
}

// questions bounds how often recognise asks about the same device, since the answer costs reads.
var questions = Rate{3, time.Minute}

// recognise asks whether the device logged in before the start of this process.
func (a *Attempt) recognise(ctx context.Context) bool {
	if !a.device {
		if _, ok := a.g.budgets.take("", a.account+"\x00"+a.address, questions, time.Now(), 0); !ok {
			return false
		}
		if seen := a.g.seen.Load(); seen != nil && (*seen)(ctx, a.account, a.address) {
			a.g.known.add(a.account, a.address)
			a.device, a.class = true, Known
		}
	}
	return a.device
}

// Context returns a context that gives the attempt its share of the places to hash.
func (a *Attempt) Context(ctx context.Context) context.Context {
	return WithCaller(ctx, a.class, a.address, a.account)
}

// Settle ends an attempt with the error of its check. A right password does not count, and makes the device known. A
// wrong one, whose error is wrong, counts. After any other error the password was not checked, for example since the
// server is busy, and the attempt does not count.
func (a *Attempt) Settle(err, wrong error) {
	if errors.Is(err, wrong) {
		a.g.journal.failedLogin(a.address)
		return
	}
	a.g.budgets.refundAll(a.charges)
	if err != nil {
		a.g.budgets.refundAll(a.counted)
		return
	}
	a.g.known.add(a.account, a.address)
}

// Remember makes a device known: a user has registered on it, or logged in by token. account is the folded account.
func (g *Governor) Remember(account, address string) { g.known.add(account, address) }

// TokenFailed notes a login with a wrong token.
func (g *Governor) TokenFailed(address string) { g.journal.failedLogin(address) }
