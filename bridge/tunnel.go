package bridge

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"

	"imctl/bridge/limit"
	"imctl/bridge/wire"
	"imctl/kv"
)

// loginWait bounds everything between a login's request and its answer.
const loginWait = 30 * time.Second

// Buffers of a WebSocket, in bytes. The one for reading is for the frames' headers: tunnelConn has read what follows.
const (
	readBuffer  = 256
	writeBuffer = 2 << 10
)

// setUpMelody makes the instance that runs the sessions. It sees only logins that succeeded.
func (b *Bridge) setUpMelody() {
	m := melody.New()
	m.Config.MaxMessageSize = b.o.Sessions.MaxFrame
	m.Config.MessageBufferSize = 2 // for a close frame: all others go by tunnelConn
	m.Config.PingPeriod = b.o.Sessions.Ping
	m.Config.PongWait = b.o.Sessions.Ping + b.o.Sessions.Ping/9
	m.Config.WriteWait = b.o.Sessions.WriteTimeout
	m.Upgrader.ReadBufferSize, m.Upgrader.WriteBufferSize = readBuffer, writeBuffer
	m.Upgrader.WriteBufferPool = new(sync.Pool)
	m.HandleConnect(func(ms *melody.Session) {
		s := sessionOf(ms)
		defer s.guard("connect")
		login := s.login
		s.login = nil
		ms.Request = nil // melody would keep it for the life of the session
		s.start(ms, login)
	})
	m.HandleMessage(func(ms *melody.Session, frame []byte) {
		s := sessionOf(ms)
		defer s.guard("message")
		s.received(frame)
	})
	m.HandleMessageBinary(func(ms *melody.Session, _ []byte) {
		s := sessionOf(ms)
		defer s.guard("binary message")
		b.metrics.dialogue(wire.PayloadNotText)
		s.closeWith(wire.AppendReply(nil, wire.PayloadNotText, nil), websocket.CloseUnsupportedData, "text only")
	})
	m.HandleClose(func(ms *melody.Session, code int, _ string) error {
		s := sessionOf(ms)
		defer s.guard("close")
		s.peerCloses(code)
		return nil
	})
	m.HandleError(func(ms *melody.Session, err error) {
		s := sessionOf(ms)
		switch {
		case errors.Is(err, errSilent):
			s.cutOff()
			// The reader is about to close the connection, and may be faster than melody's writer.
			s.control(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, silentPeer))
		case errors.Is(err, websocket.ErrReadLimit):
			// gorilla has sent the close frame by itself.
			b.metrics.dialogue(wire.ProtocolError)
		case errors.Is(err, melody.ErrMessageBufferFull):
			// It is handed nothing but one close frame. This runs under the session's lock, so no more than this.
			b.log.Error("melody's buffer is full", "session", s.id)
			s.conn.Conn.Close()
		case errors.Is(err, websocket.ErrCloseSent), errors.Is(err, melody.ErrWriteClosed):
			// The session is closing already.
		default:
			// The connection ended without a close frame.
			s.conn.deafen()
			s.leave()
		}
	})
	b.melody = m
	b.refusal = &websocket.Upgrader{ReadBufferSize: readBuffer, WriteBufferSize: writeBuffer, CheckOrigin: func(*http.Request) bool { return true }}
	m.Upgrader.CheckOrigin = b.refusal.CheckOrigin // checked before, by originAllowed
}

const sessionKey = "session"

func sessionOf(ms *melody.Session) *session { return ms.Keys[sessionKey].(*session) }

// guard, deferred, ends the session whose handler panicked: without its loop melody would keep it as a zombie.
func (s *session) guard(where string) {
	if p := recover(); p != nil {
		defer s.conn.Kill()
		defer recovered(s.bridge.log, where+" of a session")
		panic(p)
	}
}

// serveLogin answers a login. It takes the connection from net/http as soon as the request is known to be one for a
// WebSocket, so that nothing of the request, whose URL holds the password, outlives the login.
func (b *Bridge) serveLogin(w http.ResponseWriter, r *http.Request) {
	q, code := wire.ParseLogin(r.URL.RawQuery)
	address := limit.ClientKey(r, b.o.TrustedProxies)
	if mismatch := b.mismatchOf(r); mismatch != nil {
		b.refuseHandshake(w, address, mismatch)
		return
	}
	if !b.enter() {
		w.Header().Set("Retry-After", "5")
		writeStatus(w, http.StatusServiceUnavailable, wire.InternalError)
		return
	}
	hijacked, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		b.wg.Done()
		b.log.Error("take over a connection", "err", err)
		writeCode(w, wire.InternalError)
		return
	}
	conn := newTunnelConn(hijacked, b.o.Sessions.WriteTimeout)
	if rw.Reader.Buffered() > 0 {
		go func() {
			defer b.wg.Done()
			defer recovered(b.log, "handshake")
			b.refuseEager(conn, address)
		}()
		return
	}
	handshake := slimRequest(r)
	go func() {
		handedOn := false
		defer func() {
			if !handedOn {
				conn.Kill()
				b.wg.Done()
			}
		}()
		defer recovered(b.log, "login")
		if s := b.runLogin(conn, handshake, address, q, code); s != nil {
			handedOn = true
			// Not here: a login's stack has grown to twice what a session needs, and would stay so.
			go b.runSession(s, handshake)
		}
	}()
}

// runLogin answers a login that fails, and returns the session of one that does not.
func (b *Bridge) runLogin(conn *tunnelConn, handshake *http.Request, address string, q wire.LoginQuery, code wire.Code) *session {
	s := newSession(b, conn)
	s.push, s.address = q.Push, address
	err := error(code)
	if code == 0 {
		err = b.login(s, address, q)
	}
	q = wire.LoginQuery{}
	if err != nil {
		code := b.codeOf("login", err)
		b.metrics.login(code)
		b.refuseLogin(conn, handshake, code)
		return nil
	}
	b.metrics.login(wire.Success)
	b.events.session(sessionBegan, s)
	return s
}

// runSession lives as long as the session does.
func (b *Bridge) runSession(s *session, handshake *http.Request) {
	defer b.wg.Done()
	defer s.conn.Kill()
	defer recovered(b.log, "session")
	defer func() {
		s.leave()
		s.end()
		s.conn.finish()
		b.forget(s)
		b.events.session(sessionEnded, s)
	}()
	s.conn.silence = b.melody.Config.PongWait
	s.conn.watch.limit, s.conn.watch.quiet = watchLimits(b.o.Sessions.WriteTimeout)
	s.conn.watch.ping, s.conn.watch.cut = s.ping, s.cutOff
	if err := limitPeer(s.conn.Conn, s.conn.watch.limit); err != nil {
		b.log.Warn("limit a client's unacknowledged bytes", "session", s.id, "err", err)
	}
	keys := map[string]any{sessionKey: s}
	if err := b.melody.HandleRequestWithKeys(newHijacked(s.conn), handshake, keys); err != nil {
		b.log.Debug("handshake", "session", s.id, "err", err)
	}
}

// login checks who it is, puts the session online, and prepares the answer. A session that it returns an error for is
// not online.
func (b *Bridge) login(s *session, address string, q wire.LoginQuery) error {
	ctx, cancel := context.WithTimeout(context.Background(), loginWait)
	defer cancel()
	if b.link.isAway() {
		return errAway
	}
	if b.isHalted() {
		return ErrRestoring
	}
	me, token, err := b.admit(ctx, address, q)
	if err != nil {
		return err
	}
	// A login is a burst of reads. With all of a storm at once, every dialogue would wait behind them, and no login would be
	// done any sooner.
	select {
	case b.logins <- struct{}{}:
		defer func() { <-b.logins }()
	case <-ctx.Done():
		return ctx.Err()
	}
	roster, revision, err := b.o.Store.Rosters.Get(ctx, me.ID)
	if err != nil {
		return err
	}
	before, err := b.service.online(ctx, me.ID)
	if err != nil {
		return err
	}
	b.takeTurn(ctx, s, me.ID)
	first, err := b.lane(me.ID).join(ctx, me.ID, s, roster, revision)
	if err != nil {
		return err
	}
	if before && first {
		s.user.elsewhere.Store(true) // whoever it was is no session here
	}
	b.remember(s)
	if err := b.welcome(ctx, s, token); err != nil {
		s.user.lane.leave(s)
		s.end()
		b.forget(s)
		return err
	}
	// Whoever was online before may have left since, and said so: what counts is who is there beside this session.
	elsewhere := b.giveWay(ctx, s)
	if elsewhere {
		s.user.elsewhere.Store(true)
	}
	if first && !elsewhere {
		s.user.lane.news.add(announcement{user: me.ID, friends: s.user.friendIDs(), online: true})
	}
	return nil
}

// admit checks the credentials within the limits. For a login by token it returns the token that the session may go on
// living by, or "" where a new one is due.
func (b *Bridge) admit(ctx context.Context, address string, q wire.LoginQuery) (me kv.User, token string, err error) {
	l := b.limits.Load()
	account := kv.FoldAccount(q.Account)
	if q.ByToken() {
		account = q.ID
	}
	if !l.logins.Allow(address) || !l.failuresByAddress.Peek(address) || !l.failuresByAccount.Peek(account) {
		return kv.User{}, "", errLimited
	}
	if q.ByToken() {
		me, token, err = b.service.Resume(ctx, q.ID, q.Token)
	} else {
		me, err = b.service.Authenticate(ctx, q.Account, q.Password)
	}
	if errors.Is(err, wire.WrongCredentials) || errors.Is(err, wire.AuthIllegal) {
		l.failuresByAddress.Take(address)
		l.failuresByAccount.Take(account)
	}
	return me, token, err
}

// welcome makes the login's answer. The session is online by now: whatever changes from here on reaches it as a command,
// and what changed before is read here, the account included, which may have been disabled since it was looked at.
func (b *Bridge) welcome(ctx context.Context, s *session, token string) error {
	store := b.o.Store
	id := s.user.id
	me, err := store.Users.Get(ctx, id)
	if errors.Is(err, kv.ErrUserNotFound) || err == nil && me.Disabled {
		return wire.WrongCredentials
	}
	if err != nil {
		return err
	}
	roster, revision, err := store.Rosters.Get(ctx, id)
	if err != nil {
		return err
	}
	s.user.load(roster, revision)
	friends, requests, err := b.service.people(ctx, me, roster, s.user.lane)
	if err != nil {
		return err
	}
	// One to go on with has more than half of its life before it.
	until := time.Now().Add(store.Tokens.TTL() / 2)
	if token == "" {
		until = time.Now().Add(store.Tokens.TTL())
		if token, err = store.Tokens.Issue(ctx, id, s.id); err != nil {
			return err
		}
	}
	if !s.livesBy(kv.TokenHash(token), until) { // disabled in the meantime: its tokens were revoked before this one was there
		return errors.Join(wire.WrongCredentials, store.Tokens.Revoke(ctx, id, token))
	}
	s.login = wire.NewLogin(profileOf(me), friends, requests, token).Append(nil)
	return nil
}

// refuseLogin opens the WebSocket to say why it is not to be, and closes it. Whatever the client sends meanwhile is
// read and thrown away, so that the frame is not lost to a reset.
func (b *Bridge) refuseLogin(conn *tunnelConn, handshake *http.Request, code wire.Code) {
	ws, err := b.refusal.Upgrade(newHijacked(conn), handshake, nil)
	if err != nil {
		return
	}
	deadline := time.Now().Add(linger)
	conn.Conn.SetWriteDeadline(deadline)
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
	ws.SetReadLimit(b.o.Sessions.MaxFrame)
	ws.SetReadDeadline(deadline)
	for {
		if _, _, err := ws.NextReader(); err != nil {
			return
		}
	}
}

// received handles one frame of a session. It is on the session's reader: while it waits, for a place in flight or for
// the rate, nothing more is read.
func (s *session) received(frame []byte) {
	if wait := s.rate.Reserve(); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-s.done:
		}
	}
	if !s.acquire() {
		s.bridge.metrics.unanswered(1)
		return
	}
	send, code := wire.ParseSend(frame)
	switch {
	case code == wire.ProtocolError && !utf8.Valid(frame):
		s.refuse(code, send.ID)
		s.closeWith(nil, websocket.CloseInvalidFramePayloadData, "text must be UTF-8")
		return
	case code != 0:
		s.refuse(code, send.ID)
		return
	case !s.bridge.certain.Load():
		s.refuse(wire.SendFailed, send.ID)
		return
	case !s.user.isFriend(send.To):
		s.refuse(wire.NotFriends, send.ID)
		return
	case send.IDEmpty():
		s.refuse(wire.DialogueIDEmpty, nil)
		return
	}
	l := s.user.lane
	fl := l.flights.take(s)
	fl.id = append(fl.id, send.ID...)
	fl.data = wire.AppendDialogue(fl.data, send.ID, s.user.id, send.Payload)
	fl.subject = s.subjectOf(send.To)
	if err := l.flights.launch(fl); err != nil {
		s.bridge.log.Debug("send a dialogue", "err", err)
		s.refuse(wire.SendFailed, send.ID)
	}
}

// subjectOf is where a friend takes dialogues. The last one is kept: most dialogues go where the one before went. Only
// the session's reader calls it.
func (s *session) subjectOf(friend []byte) string {
	if s.lastFriend != string(friend) {
		s.lastFriend = string(friend)
		s.lastSubject = s.user.lane.prefix + s.lastFriend + "." + leafDialogue
	}
	return s.lastSubject
}
