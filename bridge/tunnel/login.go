package tunnel

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/answer"
	"imctl/bridge/eventlog"
	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/recovery"
	"imctl/bridge/wire"
	"imctl/kv"
)

// loginTimeout bounds the time from a login's request to its answer.
const loginTimeout = 30 * time.Second

// ServeHTTP serves a login. It takes the connection from net/http as soon as it knows that the request opens a
// WebSocket, so that nothing of the request, whose URL has the password, outlives the login.
func (t *Tunnel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query, code := wire.ParseLogin(r.URL.RawQuery)
	address := governor.ClientKey(r, t.opts.TrustedProxies)
	if mismatch := t.checkHandshake(r); mismatch != nil {
		t.refuseHandshake(w, address, mismatch)
		return
	}
	if !t.enter() {
		answer.WriteCode(w, answer.StatusOf(answer.ErrGoingDown), wire.InternalError)
		return
	}
	hijacked, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.conns.Done()
		t.opts.Logger.Error("take over a connection", "err", err)
		answer.WriteCode(w, http.StatusOK, wire.InternalError)
		return
	}
	c := newConn(hijacked, t.opts.Sessions.WriteTimeout, t.opts.Governor)
	if rw.Reader.Buffered() > 0 {
		go func() {
			defer t.conns.Done()
			defer recovery.Log(t.opts.Logger, "handshake")
			t.refuseEager(c, address)
		}()
		return
	}
	s := newSession(t, c, address, query.Push, query.Keep)
	s.opening.origin = kv.Origin{Address: address, Agent: r.UserAgent()}
	go t.login(s, slimRequest(r), query, code)
}

// login answers a login: it authenticates the user, puts the session online, and runs it. code is the error of the
// query, or 0.
func (t *Tunnel) login(s *Session, handshake *http.Request, query wire.LoginQuery, code wire.Code) {
	running := false
	defer func() {
		if !running {
			s.conn.Kill()
			t.conns.Done()
		}
	}()
	defer recovery.Log(t.opts.Logger, "login")
	var welcome *welcome
	err := error(code)
	if code == 0 {
		welcome, err = t.open(s, query)
	}
	query = wire.LoginQuery{}
	if err != nil {
		code := answer.CodeOf(t.opts.Logger, "login", err)
		t.metrics.login(code)
		if code != wire.InternalError {
			t.opts.Governor.Delay(t.running, s.address)
		}
		t.refuseLogin(s.conn, handshake, code, answer.RetryAfter(err))
		return
	}
	t.metrics.login(wire.Success)
	t.opts.Log.Session(eventlog.SessionBegan, s.user(), s.id, t.opts.Node)
	running = true
	// On a goroutine of its own: the login's stack has grown to twice what a session needs, and would stay so.
	go t.run(s, handshake, welcome)
}

// open authenticates the user of a login, puts the session online, and returns the login's answer. After an error the
// session is not online.
func (t *Tunnel) open(s *Session, query wire.LoginQuery) (welcome *welcome, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), loginTimeout)
	defer cancel()
	if t.opts.Away() {
		return nil, answer.ErrAway
	}
	if t.opts.Gate.Closed() {
		return nil, im.ErrRestoring
	}
	me, err := t.identify(ctx, s, query)
	if err != nil {
		if t.opts.Outdated() {
			err = answer.ErrAway
		}
		return nil, err
	}
	s.opening.origin.Login = me.login
	// A login is a burst of reads. If all logins of a storm read at once, every dialogue waits behind them, and no
	// login is faster.
	leave, err := t.logins.Enter(governor.WithCaller(ctx, governor.Known, s.address, me.user))
	if err != nil {
		return nil, err
	}
	defer leave()
	first, taken, err := t.join(ctx, s, me.user)
	if err != nil {
		return nil, err
	}
	if welcome, err = t.welcome(ctx, s, me.token); t.opts.Outdated() {
		err = answer.ErrAway
	}
	if err != nil {
		s.leave()
		s.end()
		t.unregister(s)
		return nil, err
	}
	// A client that was online before may have left since, and been announced. What counts is who is online beside this
	// session.
	elsewhere, older := t.limitSessions(ctx, s)
	if elsewhere || taken && first { // not by a session of this node
		s.member.MarkElsewhere()
	}
	if first && !older {
		s.member.Announce()
	}
	return welcome, nil
}

// identify finds out which user logs in.
func (t *Tunnel) identify(ctx context.Context, s *Session, query wire.LoginQuery) (authenticated, error) {
	if query.ByTicket() {
		return t.byTicket(ctx, s, query)
	}
	me, err := t.authenticate(ctx, s.address, query)
	t.audit(s.address, query, me.user, err)
	return me, err
}

// authenticated is the outcome of a login whose credentials are right.
type authenticated struct {
	user  string    // its id
	token string    // the session may go on using it; "": the session needs a new one
	login time.Time // the FirstLogin of the token of a login by token
}

// authenticate checks account and password, or id and token, within the limits. Tokens cannot be guessed, so wrong ones
// are not limited, and no client can lock another one's token out.
func (t *Tunnel) authenticate(ctx context.Context, address string, query wire.LoginQuery) (a authenticated, err error) {
	var me kv.User
	if query.ByToken() {
		leave, err := t.logins.Enter(governor.WithCaller(ctx, governor.Known, address, query.ID))
		if err != nil {
			return a, err
		}
		defer leave()
		me, a.token, a.login, err = t.opts.Accounts.Resume(ctx, query.ID, query.Token)
		if err == nil {
			t.opts.Governor.Remember(kv.FoldAccount(me.Account), address)
		} else if errors.Is(err, wire.AuthIllegal) {
			t.opts.Governor.TokenFailed(address)
		}
		a.user = me.ID
		return a, err
	}
	attempt, err := t.opts.Governor.Login(ctx, address, kv.FoldAccount(query.Account), false)
	if err != nil {
		return a, err
	}
	me, err = t.opts.Accounts.Authenticate(im.WithAddress(attempt.Context(ctx), address), query.Account, query.Password)
	attempt.Settle(err, wire.WrongCredentials)
	a.user = me.ID
	return a, err
}

// join puts the session online. first reports whether it is its user's only one on this node, and taken whether another
// client took the user's dialogues before, anywhere.
func (t *Tunnel) join(ctx context.Context, s *Session, user string) (first, taken bool, err error) {
	if taken, err = t.opts.Lanes.Taken(ctx, user); err != nil {
		return false, false, err
	}
	if t.opts.Talks != nil && !s.keep {
		if s.opening.base, err = t.opts.Talks.Cursors(ctx, user); err != nil {
			return false, false, err
		}
	}
	t.makeYoungest(ctx, s, user)
	defer t.opts.Lanes.Expect(user)()
	roster, revision, err := t.opts.Store.Rosters.Get(ctx, user)
	if err != nil {
		return false, false, err
	}
	if first, err = t.opts.Lanes.Join(ctx, user, s.member, roster, revision); err != nil {
		return false, false, err
	}
	t.register(s)
	return first, taken, nil
}

// welcome returns the login's answer. The session is online by now: later changes reach it as commands, and welcome
// reads the earlier ones, the account included, which may have been disabled since the login was authenticated.
func (t *Tunnel) welcome(ctx context.Context, s *Session, token string) (*welcome, error) {
	store, id := t.opts.Store, s.user()
	me, err := store.Users.Get(ctx, id)
	if errors.Is(err, kv.ErrUserNotFound) || err == nil && me.Disabled {
		return nil, wire.WrongCredentials
	}
	if err != nil {
		return nil, err
	}
	roster, revision, err := store.Rosters.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	s.member.User().LoadRoster(roster, revision)
	s.opening.roster = roster
	until := time.Now().Add(store.Tokens.TTL() / 2) // Resume returns tokens with more than half of their life left
	if token == "" {
		until = time.Now().Add(store.Tokens.TTL())
		if token, err = store.Tokens.Issue(ctx, id, s.id, s.opening.origin); err != nil {
			return nil, err
		}
	}
	if !s.bindToken(kv.TokenHash(token), until) { // disabled meanwhile: the tokens were revoked before this one was issued
		return nil, errors.Join(wire.WrongCredentials, store.Tokens.Revoke(ctx, id, token))
	}
	answer, err := t.opts.Friends.Answer(ctx, me, roster, token, s.push, s.keep)
	if err != nil {
		return nil, err
	}
	return newWelcome(ctx, answer)
}

// run runs the session until it ends. welcome is its first frame.
func (t *Tunnel) run(s *Session, handshake *http.Request, welcome *welcome) {
	defer t.conns.Done()
	defer s.conn.Kill()
	defer recovery.Log(t.opts.Logger, "session")
	defer func() {
		s.leave()
		s.end()
		s.conn.finish()
		t.unregister(s)
		if t.opts.Talks != nil {
			t.opts.Talks.Flush(s.user())
		}
		t.opts.Log.Session(eventlog.SessionEnded, s.user(), s.id, t.opts.Node)
	}()
	t.opts.Governor.Promote(s.conn.Conn)
	if welcome.whole != nil {
		s.conn.prepend(welcome.whole)
	} else {
		s.opening.streamed = welcome.answer
	}
	s.conn.silence = pongWait(t.opts.Sessions)
	s.conn.watch.limit, s.conn.watch.quiet = watchLimits(t.opts.Sessions.WriteTimeout)
	if err := limitPeer(s.conn.Conn, s.conn.watch.limit); err != nil {
		t.opts.Logger.Warn("limit a client's unacknowledged bytes", "session", s.id, "err", err)
	}
	if err := t.melody.serve(s, handshake); err != nil {
		t.opts.Logger.Debug("handshake", "session", s.id, "err", err)
	}
}

// refuseLogin opens the WebSocket, answers with the code, and closes it. It reads and discards what the client sends
// meanwhile, so that a reset does not lose the answer. wait, if it is not 0, is how many seconds the client should wait:
// the answer to the handshake has them, since the contract fixes the frame.
func (t *Tunnel) refuseLogin(c *conn, handshake *http.Request, code wire.Code, wait int) {
	header := http.Header{}
	if wait > 0 {
		header.Set("Retry-After", strconv.Itoa(wait))
	}
	ws, err := t.refusal.Upgrade(newHijacked(c), handshake, header)
	if err != nil {
		return
	}
	deadline := time.Now().Add(linger)
	c.Conn.SetWriteDeadline(deadline)
	if ws.WriteMessage(websocket.TextMessage, wire.AppendReply(nil, code, nil)) != nil {
		return
	}
	closeCode := websocket.ClosePolicyViolation
	if code == wire.InternalError {
		closeCode = websocket.CloseTryAgainLater
	}
	if ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(closeCode, code.Message()), deadline) != nil {
		return
	}
	ws.SetReadLimit(t.opts.Sessions.MaxFrame)
	ws.SetReadDeadline(deadline)
	for {
		if _, _, err := ws.NextReader(); err != nil {
			return
		}
	}
}
