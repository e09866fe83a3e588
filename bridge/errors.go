package bridge

import (
	"errors"
	"net/http"

	"imctl/bridge/wire"
	"imctl/kv"
)

// What a call may be refused with that has no code of its own.
var (
	errLimited  = errors.New("too many attempts")
	errTooLarge = errors.New("body too large")
	errAway     = errors.New("NATS is away")
)

// codes says which code the client sees for an error. The first match counts; whatever is not here is the server's own
// fault, and its cause is logged and kept from the client.
var codes = []struct {
	err    error
	code   wire.Code
	status int
}{
	{errLimited, wire.ProtocolError, http.StatusTooManyRequests},
	{errAway, wire.InternalError, http.StatusOK},        // logged once, not for each call
	{kv.ErrReadOnly, wire.InternalError, http.StatusOK}, // logged by the disk watcher
	{ErrRestoring, wire.InternalError, http.StatusOK},
	{errTooLarge, wire.ProtocolError, http.StatusRequestEntityTooLarge},
	{kv.ErrTooManyFriends, wire.ProtocolError, http.StatusTooManyRequests},
	{kv.ErrTooManyRequests, wire.ProtocolError, http.StatusTooManyRequests},
	{kv.ErrPasswordTooLong, wire.ProtocolError, http.StatusOK},
	{kv.ErrAccountExists, wire.AccountExists, http.StatusOK},
	{kv.ErrTokenInvalid, wire.AuthIllegal, http.StatusOK},
	{kv.ErrAlreadyFriends, wire.AlreadyFriends, http.StatusOK},
	{kv.ErrNotFriends, wire.NotFriends, http.StatusOK},
	{kv.ErrSelf, wire.FriendNotExists, http.StatusOK},
	{kv.ErrNoRequest, wire.FriendNotExists, http.StatusOK},
	{kv.ErrUserNotFound, wire.FriendNotExists, http.StatusOK},
}

// codeOf returns the code for an error of the call, and logs what is the server's own fault.
func (b *Bridge) codeOf(call string, err error) wire.Code {
	var code wire.Code
	if errors.As(err, &code) {
		return code
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	b.log.Error("call failed", "call", call, "err", err)
	return wire.InternalError
}

// statusOf returns the HTTP status for an error: 200 with the code in the body wherever the protocol documents one.
func statusOf(err error) int {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.status
		}
	}
	return http.StatusOK
}
