package embedded

import (
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// repeatedEvery is how often the repeated errors of clients are logged.
	repeatedEvery = time.Minute
	// repeatedKeys bounds the clients that are told apart. All others count as one.
	repeatedKeys = 1024
)

// repeated logs the errors of clients, such as permission violations. It logs the first error of a kind for each user,
// or for each address before the login, and then one line a minute with the number of further ones: a client can cause
// hundreds of thousands of errors a second.
type repeated struct {
	log *slog.Logger

	mu     sync.Mutex // guards the fields below
	counts map[clientError]int
	putOff map[string]bool // ids of connections whose refused login is not logged
	timer  *time.Timer     // runs while counts is not empty
	closed bool
}

// clientError is a kind of error of a client.
type clientError struct {
	client string // a user, or an address
	what   string
}

func newRepeated(log *slog.Logger) *repeated {
	r := &repeated{log: log, counts: make(map[clientError]int), putOff: make(map[string]bool)}
	r.timer = time.AfterFunc(time.Hour, r.flush)
	r.timer.Stop()
	return r
}

// add logs or counts an error of a client. ok is false if line is not about a client connection.
func (r *repeated) add(line string) (ok bool) {
	key, ok := parseClientError(line)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if cid := connectionID(line); r.putOff[cid] {
		delete(r.putOff, cid)
		r.log.Debug(line)
		return true
	}
	if _, known := r.counts[key]; !known && len(r.counts) >= repeatedKeys {
		key = clientError{"other clients", "errors"}
	}
	if _, known := r.counts[key]; known {
		r.counts[key]++
		return true
	}
	if len(r.counts) == 0 && !r.closed {
		r.timer.Reset(repeatedEvery)
	}
	r.counts[key] = 0
	r.log.Warn(line)
	return true
}

// ignore keeps the next error of a connection out of the log. A connection that has ended may cause none.
func (r *repeated) ignore(cid uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.putOff) >= repeatedKeys {
		clear(r.putOff)
	}
	r.putOff[strconv.FormatUint(cid, 10)] = true
}

// connectionID returns the id of the connection in a line that parseClientError accepts.
func connectionID(line string) string {
	_, rest, _ := strings.Cut(line, clientMark)
	cid, _, _ := strings.Cut(rest, " ")
	return cid
}

// flush logs the counts. A client whose errors have ended is forgotten, so that its next one is logged at once.
func (r *repeated) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, n := range r.counts {
		if n == 0 {
			delete(r.counts, key)
			continue
		}
		r.log.Warn("repeated errors of a NATS client", "client", key.client, "error", key.what, "count", n)
		r.counts[key] = 0
	}
	if len(r.counts) > 0 && !r.closed {
		r.timer.Reset(repeatedEvery)
	}
}

// close logs the counts and stops the timer.
func (r *repeated) close() {
	r.mu.Lock()
	r.closed = true
	r.timer.Stop()
	r.mu.Unlock()
	r.flush()
}

// clientMark is in front of the id of a client connection, and routeMark in front of that of a connection between nodes.
const (
	clientMark = " - cid:"
	routeMark  = " - rid:"
)

// parseClientError returns client and error of a line about a client connection:
//
//	192.0.2.7:50000 - cid:7 - "v1.50.0:go:a name" - "IM/user:user:0123" - Publish Violation - Subject "foo"
//
// The quoted parts are there after the login. The first is the client's to choose, and either can be missing.
func parseClientError(line string) (e clientError, ok bool) {
	const separator = " - "
	address, rest, ok := strings.Cut(line, clientMark)
	if !ok {
		address, rest, ok = strings.Cut(line, routeMark)
	}
	if !ok || strings.Contains(address, " ") {
		return e, false
	}
	_, rest, ok = strings.Cut(rest, separator)
	if !ok {
		return e, false
	}
	var quoted []string
	for strings.HasPrefix(rest, `"`) {
		text, err := strconv.QuotedPrefix(rest)
		if err != nil {
			break
		}
		quoted = append(quoted, text)
		rest = strings.TrimPrefix(rest[len(text):], separator)
	}
	e.client = address
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		e.client = address[:i]
	}
	if len(quoted) == 2 {
		e.client = strings.Trim(quoted[1], `"`)
	}
	e.what = rest
	if i := strings.IndexAny(rest, ":,-"); i >= 0 {
		e.what = strings.TrimSpace(rest[:i])
	}
	return e, true
}
