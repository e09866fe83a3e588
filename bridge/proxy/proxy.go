// Package proxy reads what proxies say of a request that they pass on. It does not know which proxies to trust.
package proxy

import (
	"net/http"
	"strings"
)

// Most limits how many elements of a header are read. A real chain of proxies has a few.
const Most = 16

// Element is what one proxy says of a request, in the header Forwarded (RFC 7239). A value that the proxy does not
// give is "".
type Element struct{ For, Proto, Host string }

// Parse returns the elements of all lines of the header, the nearest proxy's last. They are the last Most ones. A line
// that is malformed counts as one element without values: a client may have begun a quote that swallows what a proxy
// appended.
func Parse(lines []string) (all []Element) {
	for i := len(lines) - 1; i >= 0 && len(all) < Most; i-- {
		all = append(parseLine(lines[i]), all...)
	}
	return all[max(0, len(all)-Most):]
}

func parseLine(line string) []Element {
	parts, ok := split(line, ',')
	if !ok {
		return []Element{{}}
	}
	parts = parts[max(0, len(parts)-Most):]
	all := make([]Element, len(parts))
	for i, part := range parts {
		var ok bool
		if all[i], ok = parseElement(part); !ok {
			all[i] = Element{}
		}
	}
	return all
}

// parseElement parses the pairs of an element. ok is false if one of them is malformed or given twice.
func parseElement(text string) (e Element, ok bool) {
	pairs, ok := split(text, ';')
	if !ok {
		return e, false
	}
	for _, pair := range pairs {
		if pair = strings.Trim(pair, " \t"); pair == "" {
			continue
		}
		name, value, found := strings.Cut(pair, "=")
		if value, ok = unquote(value); !found || !ok {
			return e, false
		}
		var field *string
		switch strings.ToLower(name) {
		case "for":
			field = &e.For
		case "proto":
			field = &e.Proto
		case "host":
			field = &e.Host
		default:
			continue
		}
		if *field != "" {
			return e, false
		}
		*field = value
	}
	return e, true
}

// split splits text at a separator outside of quotes. ok is false if a quote has no end.
func split(text string, separator byte) (parts []string, ok bool) {
	begin, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == separator && !quoted:
			parts, begin = append(parts, text[begin:i]), i+1
		}
	}
	return append(parts, text[begin:]), !quoted
}

// unquote returns a value, which is a token or a quoted string.
func unquote(value string) (string, bool) {
	inner, isQuoted := strings.CutPrefix(value, `"`)
	if !isQuoted {
		return value, value != "" && !strings.ContainsAny(value, "\" \t")
	}
	inner, ok := strings.CutSuffix(inner, `"`)
	return inner, ok && !strings.ContainsAny(inner, `"\`) // no value has a reason to escape
}

// Any reports whether a request names a client that a proxy serves.
func Any(h http.Header) bool { return len(h["X-Forwarded-For"]) > 0 || len(h["Forwarded"]) > 0 }

// Scheme returns the scheme of a request as its client sent it, in lower case, by the headers of its proxies. It
// returns "" if they do not tell.
func Scheme(h http.Header) string {
	scheme := first(h["X-Forwarded-Proto"])
	if all := Parse(h["Forwarded"]); scheme == "" && len(all) > 0 {
		scheme = all[0].Proto
	}
	return strings.ToLower(scheme)
}

// Host returns the host of a request as its client sent it, by the headers of its proxies. It returns "" if they do
// not tell.
func Host(h http.Header) string {
	host := first(h["X-Forwarded-Host"])
	if all := Parse(h["Forwarded"]); host == "" && len(all) > 0 {
		host = all[0].Host
	}
	return host
}

// first returns the first value of a list, which the proxy that is nearest to the client gave.
func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	value, _, _ := strings.Cut(lines[0], ",")
	return strings.Trim(value, " \t")
}
