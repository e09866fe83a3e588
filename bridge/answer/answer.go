// Package answer maps errors to the protocol's codes, and writes answers over HTTP and NATS.
package answer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"

	"github.com/nats-io/nats.go"

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
	// ErrGoingDown: the server shuts down.
	ErrGoingDown = errors.New("server is going down")
)

// codes are the codes that the client sees for errors. The first match counts. Any other error is the server's own
// fault: it is logged, and the client sees InternalError.
var codes = []struct {
	err    error
	code   wire.Code
	status int
}{
	{governor.ErrLimited, wire.ProtocolError, http.StatusTooManyRequests},
	{ErrAway, wire.InternalError, http.StatusOK}, // the monitor logs it once, not for each call
	{ErrGoingDown, wire.InternalError, http.StatusServiceUnavailable},
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
	code, known := codeOf(err)
	switch {
	case known:
	case errors.Is(err, context.Canceled): // the client has gone, or the server ends
		log.Debug("call canceled", "call", call, "err", err)
	default:
		log.Error("call failed", "call", call, "err", err)
	}
	return code
}

// Code returns the code for an error, as CodeOf does, and logs nothing.
func Code(err error) wire.Code {
	code, _ := codeOf(err)
	return code
}

// codeOf returns the code for an error. known is false for the server's own faults.
func codeOf(err error) (code wire.Code, known bool) {
	if errors.As(err, &code) {
		return code, true
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code, true
		}
	}
	return wire.InternalError, false
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

// The seconds to wait where no limit says for how long.
const (
	// busyWait is for a server that is busy, shuts down or has lost NATS.
	busyWait = 5
	// fullWait is for a full list. No time makes room in it, so the wait only keeps programs from trying all the time.
	fullWait = 3600
)

// RetryAfter returns how many seconds the client should wait after an error, 0 if the error does not say so.
func RetryAfter(err error) int {
	var limited *governor.LimitedError
	switch {
	case errors.As(err, &limited):
		return max(1, int(math.Ceil(limited.RetryAfter.Seconds())))
	case errors.Is(err, kv.ErrBusy):
		return busyWait
	}
	return 0
}

// SetRetryAfter sets the header that tells the client when to try again, for an error that says so.
func SetRetryAfter(w http.ResponseWriter, err error) {
	if seconds := RetryAfter(err); seconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
}

// Respond answers a request over NATS. For an error that says when to try again the answer has the header Retry-After,
// as over HTTP. A request without a reply subject is no error.
func Respond(m *nats.Msg, body []byte, err error) error {
	reply := &nats.Msg{Data: body}
	if seconds := RetryAfter(err); seconds > 0 {
		reply.Header = nats.Header{"Retry-After": {strconv.Itoa(seconds)}}
	}
	if failed := m.RespondMsg(reply); failed != nil && !errors.Is(failed, nats.ErrMsgNoReply) {
		return fmt.Errorf("answer over NATS: %w", failed)
	}
	return nil
}

// WriteCode writes an answer that has only a code.
func WriteCode(w http.ResponseWriter, status int, c wire.Code) {
	Write(w, status, wire.AppendReply(nil, c, nil))
}

// Write writes an answer. Caches must not keep it, unless the header says so already. Every answer with the status 429
// or 503 has a Retry-After.
func Write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	if h.Get("Retry-After") == "" {
		switch status {
		case http.StatusServiceUnavailable:
			h.Set("Retry-After", strconv.Itoa(busyWait))
		case http.StatusTooManyRequests:
			h.Set("Retry-After", strconv.Itoa(fullWait))
		}
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	// An error means that the client has gone.
	_, _ = w.Write(body)
}
