// Package answer maps errors to the protocol's codes, and writes answers over HTTP.
package answer

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"

	"imctl/bridge/governor"
	"imctl/bridge/im"
	"imctl/bridge/wire"
	"imctl/kv"
)

// Errors of calls that have no code of their own.
var (
	// ErrTooLarge: the body of a call is too large.
	ErrTooLarge = errors.New("body too large")
	// ErrAway: NATS is unreachable.
	ErrAway = errors.New("NATS is unreachable")
)

// codes are the codes that the client sees for errors. The first match counts. Any other error is the server's own
// fault: it is logged, and the client sees InternalError.
var codes = []struct {
	err    error
	code   wire.Code
	status int
}{
	{governor.ErrLimited, wire.ProtocolError, http.StatusTooManyRequests},
	{ErrAway, wire.InternalError, http.StatusOK},        // the monitor logs it once, not for each call
	{kv.ErrReadOnly, wire.InternalError, http.StatusOK}, // the disk watcher logs it
	{im.ErrRestoring, wire.InternalError, http.StatusOK},
	{kv.ErrBusy, wire.InternalError, http.StatusOK}, // the governor logs it
	{im.ErrNotInvited, wire.ProtocolError, http.StatusOK},
	{ErrTooLarge, wire.ProtocolError, http.StatusRequestEntityTooLarge},
	{kv.ErrTooManyFriends, wire.ProtocolError, http.StatusTooManyRequests},
	{kv.ErrTooManyRequests, wire.ProtocolError, http.StatusTooManyRequests},
	{kv.ErrTooManyBlocked, wire.ProtocolError, http.StatusTooManyRequests},
	{kv.ErrTooManyReports, wire.ProtocolError, http.StatusTooManyRequests},
	{kv.ErrBlocked, wire.FriendNotExists, http.StatusOK},
	{kv.ErrPasswordTooLong, wire.ProtocolError, http.StatusOK},
	{kv.ErrPasswordTooShort, wire.ProtocolError, http.StatusOK},
	{kv.ErrAccountExists, wire.AccountExists, http.StatusOK},
	{kv.ErrTokenInvalid, wire.AuthIllegal, http.StatusOK},
	{kv.ErrAlreadyFriends, wire.AlreadyFriends, http.StatusOK},
	{kv.ErrNotFriends, wire.NotFriends, http.StatusOK},
	{kv.ErrSelf, wire.FriendNotExists, http.StatusOK},
	{kv.ErrNoRequest, wire.FriendNotExists, http.StatusOK},
	{kv.ErrUserNotFound, wire.FriendNotExists, http.StatusOK},

	{kv.ErrFilesFull, wire.QuotaExceeded, http.StatusOK},
}

// CodeOf returns the code for an error of a call, and logs the server's own faults.
func CodeOf(log *slog.Logger, call string, err error) wire.Code {
	var code wire.Code
	if errors.As(err, &code) {
		return code
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	if errors.Is(err, context.Canceled) { // the client has gone, or the server ends
		log.Debug("call canceled", "call", call, "err", err)
	} else {
		log.Error("call failed", "call", call, "err", err)
	}
	return wire.InternalError
}

// StatusOf returns the HTTP status for an error: 200 with the code in the body wherever the protocol documents a code.
func StatusOf(err error) int {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.status
		}
	}
	return http.StatusOK
}

// SetRetryAfter sets the header that tells the client when to try again, for an error that says so.
func SetRetryAfter(w http.ResponseWriter, err error) {
	var limited *governor.LimitedError
	switch {
	case errors.As(err, &limited):
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(limited.RetryAfter.Seconds())))))
	case errors.Is(err, kv.ErrBusy):
		w.Header().Set("Retry-After", "5")
	}
}

// WriteCode writes an answer that has only a code.
func WriteCode(w http.ResponseWriter, status int, c wire.Code) {
	Write(w, status, wire.AppendReply(nil, c, nil))
}

// Write writes an answer.
func Write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error means that the client has gone.
	_, _ = w.Write(body)
}
