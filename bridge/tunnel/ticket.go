package tunnel

import (
	"container/list"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"imctl/bridge/answer"
	"imctl/bridge/audit"
	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/wire"
)

// The URL of a WebSocket is in the logs of proxies, and a browser cannot send anything else with it. So a call checks the
// credentials, and answers a ticket, which opens one tunnel. The node that issued a ticket has it in memory. Another node
// asks that one for it. A ticket is a random secret and the id of its node. The node has only the hash of the secret, and
// what the ticket stands for is encrypted with the secret: the token of a login crosses NATS in no other form.

const (
	ticketLife   = 30 * time.Second
	signInLife   = 2 * time.Minute // of TicketFor: the browser loads the page first
	ticketSecret = 32              // bytes
	maxTickets   = 1 << 14         // of a node; one more drops the oldest. They take about 8 MB.
	maxUserOnes  = 32              // of a user; likewise

	maxNodeID    = 64
	idCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_" // of a node; no other one is asked
)

// grant is what a ticket stands for.
type grant struct {
	User  string `json:"user"`
	Token string `json:"token,omitempty"` // of a login by token
	From  string `json:"from"`            // the address of the client whose credentials were checked
	Push  bool   `json:"push,omitempty"`
	Keep  bool   `json:"keep,omitempty"`
}

// tickets are those of a node that are neither used nor expired.
type tickets struct {
	mu     sync.Mutex
	byHash map[string]*list.Element
	byUser map[string]int // how many a user has
	oldest list.List      // of *ticket, the oldest first
}

type ticket struct {
	hash, user string
	sealed     []byte // the grant, encrypted
	expires    time.Time
}

func (t *tickets) init() {
	t.byHash, t.byUser = make(map[string]*list.Element), make(map[string]int)
}

// add adds a ticket, and drops those that have expired or are too many.
func (t *tickets) add(k *ticket, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.oldest.Front(); e != nil && (len(t.byHash) >= maxTickets || !now.Before(e.Value.(*ticket).expires)); e = t.oldest.Front() {
		t.remove(e)
	}
	for e := t.oldest.Front(); e != nil && t.byUser[k.user] >= maxUserOnes; {
		next := e.Next()
		if e.Value.(*ticket).user == k.user {
			t.remove(e)
		}
		e = next
	}
	t.byHash[k.hash] = t.oldest.PushBack(k)
	t.byUser[k.user]++
}

// remove removes a ticket. Called with mu held.
func (t *tickets) remove(e *list.Element) {
	k := t.oldest.Remove(e).(*ticket)
	delete(t.byHash, k.hash)
	if t.byUser[k.user]--; t.byUser[k.user] == 0 {
		delete(t.byUser, k.user)
	}
}

// take removes a ticket and returns its encrypted grant, or nil if it is not valid.
func (t *tickets) take(hash string, now time.Time) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byHash[hash]
	if e == nil {
		return nil
	}
	t.remove(e)
	if k := e.Value.(*ticket); now.Before(k.expires) {
		return k.sealed
	}
	return nil
}

// drop removes the tickets of a user, or of all users for "".
func (t *tickets) drop(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if user != "" && t.byUser[user] == 0 {
		return
	}
	for e := t.oldest.Front(); e != nil; {
		next := e.Next()
		if user == "" || e.Value.(*ticket).user == user {
			t.remove(e)
		}
		e = next
	}
}

// hashOf returns the hash by which a node knows a ticket. It is not the key of the encryption.
func hashOf(secret []byte) string {
	sum := sha256.Sum256(append([]byte("ticket "), secret...))
	return hex.EncodeToString(sum[:])
}

// sealer returns the encryption with a secret, which is used for one message: the nonce is zero.
func sealer(secret []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// IssueTicket checks the credentials of a login as the login itself does, and returns a ticket for them.
//
// Errors: those of a login, and answer.ErrGoingDown.
func (t *Tunnel) IssueTicket(ctx context.Context, address string, query wire.LoginQuery) (wire.Ticket, error) {
	issued, err := t.issueTicket(ctx, address, query)
	if err != nil {
		code := answer.Code(err)
		t.metrics.login(code)
		if code != wire.InternalError && !errors.Is(err, governor.ErrLimited) { // the caller holds the answer of a limit back
			t.opts.Governor.Delay(ctx, address)
		}
	}
	return issued, err
}

func (t *Tunnel) issueTicket(ctx context.Context, address string, query wire.LoginQuery) (issued wire.Ticket, err error) {
	switch {
	case t.Draining():
		return issued, answer.ErrGoingDown
	case t.opts.Gate.Closed():
		return issued, im.ErrRestoring
	}
	a, err := t.authenticate(ctx, address, query)
	t.audit(address, query, a.user, err)
	if err != nil {
		return issued, err
	}
	return t.grantTicket(grant{User: a.user, Token: query.Token, From: address, Push: query.Push, Keep: query.Keep}, ticketLife)
}

// TicketFor returns a ticket for a user that another server has authenticated. how names the way in the audit trail.
//
// Errors: answer.ErrGoingDown, im.ErrRestoring.
func (t *Tunnel) TicketFor(user, address, how string) (issued wire.Ticket, err error) {
	switch {
	case t.Draining():
		return issued, answer.ErrGoingDown
	case t.opts.Gate.Closed():
		return issued, im.ErrRestoring
	}
	t.opts.Audit.LoggedIn(audit.Ref{Kind: audit.User, ID: user}, address, how)
	return t.grantTicket(grant{User: user, From: address}, signInLife)
}

// grantTicket returns a ticket that stands for g.
func (t *Tunnel) grantTicket(g grant, life time.Duration) (issued wire.Ticket, err error) {
	secret := make([]byte, ticketSecret)
	rand.Read(secret) // never fails
	aead, err := sealer(secret)
	if err != nil {
		return issued, err
	}
	plain, err := json.Marshal(g)
	if err != nil {
		return issued, err
	}
	now := time.Now()
	t.tickets.add(&ticket{hash: hashOf(secret), user: g.User, sealed: aead.Seal(nil, make([]byte, aead.NonceSize()), plain, nil),
		expires: now.Add(life)}, now)
	return wire.Ticket{Ticket: hex.EncodeToString(secret) + t.opts.Node, Expires: int(life.Seconds())}, nil
}

// TakeTicket removes a ticket that this node issued, by its hash, and returns what it stands for, encrypted. nil: there
// is no such ticket.
func (t *Tunnel) TakeTicket(hash string) []byte { return t.tickets.take(hash, time.Now()) }

// redeem takes a ticket from the node that issued it, and returns what it stands for.
//
// Errors: wire.WrongCredentials if the ticket is wrong, used, dropped or expired.
func (t *Tunnel) redeem(ctx context.Context, text string) (g grant, err error) {
	const digits = 2 * ticketSecret
	if len(text) <= digits || len(text) > digits+maxNodeID {
		return g, wire.WrongCredentials
	}
	secret, err := hex.DecodeString(text[:digits])
	node := text[digits:]
	if err != nil || strings.Trim(node, idCharacters) != "" {
		return g, wire.WrongCredentials
	}
	var sealed []byte
	if node == t.opts.Node {
		sealed = t.TakeTicket(hashOf(secret))
	} else if sealed, err = t.opts.Cluster.TakeTicket(ctx, node, hashOf(secret)); err != nil {
		return g, err
	}
	if sealed == nil {
		return g, wire.WrongCredentials
	}
	aead, err := sealer(secret)
	if err != nil {
		return g, err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed, nil)
	if err != nil {
		return g, err
	}
	return g, json.Unmarshal(plain, &g)
}

// byTicket logs in with a ticket. The session gets what the client asked for with either of the two requests.
func (t *Tunnel) byTicket(ctx context.Context, s *Session, query wire.LoginQuery) (a authenticated, err error) {
	g, err := t.redeem(ctx, query.Ticket)
	if err != nil {
		if errors.Is(err, wire.WrongCredentials) {
			t.opts.Governor.TokenFailed(s.address)
			t.opts.Audit.LoginFailed(s.address, "", "ticket")
		}
		return a, err
	}
	a.user = g.User
	if g.Token != "" { // it may have been revoked meanwhile
		a, err = t.authenticate(ctx, s.address, wire.LoginQuery{ID: g.User, Token: g.Token})
	}
	if err == nil && s.address != g.From { // the call has recorded the login for its own address
		t.opts.Audit.LoggedIn(audit.Ref{Kind: audit.User, ID: g.User}, s.address, "ticket")
	}
	s.takePart(query.Push || g.Push, query.Keep || g.Keep)
	return a, err
}
