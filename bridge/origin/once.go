package origin

import (
	"sync"
	"time"
)

// Values that Once remembers, and for how long if there are more.
const (
	onceMost  = 64
	onceAgain = time.Hour
)

// Once lets each value pass once, so that clients cannot fill the log. It remembers 64 values. Further values do not
// pass, until an hour after the first one it forgets them all. The zero value is ready to use.
type Once struct {
	mu    sync.Mutex // guards the fields below
	began time.Time
	seen  map[string]struct{}
}

// First reports whether a value passes.
func (o *Once) First(value string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, seen := o.seen[value]; seen {
		return false
	}
	if len(o.seen) >= onceMost {
		if time.Since(o.began) < onceAgain {
			return false
		}
		o.seen = nil
	}
	if o.seen == nil {
		o.began, o.seen = time.Now(), make(map[string]struct{})
	}
	o.seen[value] = struct{}{}
	return true
}

// Shown returns a client's text for the log if it is short and has only characters of hosts and origins. Any other
// text may hold a secret.
func Shown(text string) string {
	const most = 128
	if text == "" || len(text) > most {
		return "malformed"
	}
	for _, c := range text {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_', c == ':', c == '/', c == '[', c == ']':
		default:
			return "malformed"
		}
	}
	return text
}
