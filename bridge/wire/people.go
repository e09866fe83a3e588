package wire

import (
	"strconv"
	"time"
)

// A Person is what the server tells a user of another one.
type Person struct {
	ID, Name, Picture, Sign string

	Account string    // "": not shown
	Since   time.Time // of the account; zero: not shown
	Common  int       // number of common friends
}

// Append appends the person to dst as a JSON object.
func (p Person) Append(dst []byte) []byte { return append(p.appendKeys(append(dst, '{')), '}') }

func (p Person) appendKeys(dst []byte) []byte {
	dst = appendKey(dst, `"id":`, p.ID)
	dst = appendKey(dst, `,"name":`, p.Name)
	dst = appendKey(dst, `,"picture":`, p.Picture)
	dst = appendKey(dst, `,"sign":`, p.Sign)
	if p.Account != "" {
		dst = appendKey(dst, `,"account":`, p.Account)
	}
	if !p.Since.IsZero() {
		dst = appendKey(dst, `,"since":`, p.Since.UTC().Format(time.RFC3339))
	}
	return strconv.AppendInt(append(dst, `,"common":`...), int64(p.Common), 10)
}

// People is the answer with a page of a search.
type People struct {
	People []Person
	Next   string // cursor of the next page; "" after the last one
}

// Append appends the answer to dst, with code 200. An empty list is null.
func (p People) Append(dst []byte) []byte {
	dst = appendList(append(appendHead(dst, Success), `,"people":`...), p.People)
	if p.Next != "" {
		dst = appendKey(dst, `,"next":`, p.Next)
	}
	return append(dst, '}')
}

// OnePerson is the answer with one person, and how the caller stands to it.
type OnePerson struct {
	Person
	Friend bool
	Asked  bool // the caller asked the person
	Asks   bool // the person asked the caller
}

// Append appends the answer to dst, with code 200.
func (p OnePerson) Append(dst []byte) []byte {
	dst = p.appendKeys(append(appendHead(dst, Success), `,"person":{`...))
	dst = strconv.AppendBool(append(dst, `,"friend":`...), p.Friend)
	dst = strconv.AppendBool(append(dst, `,"asked":`...), p.Asked)
	dst = strconv.AppendBool(append(dst, `,"asks":`...), p.Asks)
	return append(dst, "}}"...)
}

// An AskedPerson is a user whom the caller asked for friendship.
type AskedPerson struct {
	ID, Name, Picture string
	At                time.Time // zero: unknown
}

// Append appends the person to dst as a JSON object.
func (p AskedPerson) Append(dst []byte) []byte {
	dst = appendKey(dst, `{"id":`, p.ID)
	dst = appendKey(dst, `,"name":`, p.Name)
	dst = appendKey(dst, `,"picture":`, p.Picture)
	if !p.At.IsZero() {
		dst = appendKey(dst, `,"at":`, p.At.UTC().Format(time.RFC3339))
	}
	return append(dst, '}')
}

// Asked is the answer with the caller's own pending requests.
type Asked []AskedPerson

// Append appends the answer to dst, with code 200. An empty list is null.
func (a Asked) Append(dst []byte) []byte {
	return append(appendList(append(appendHead(dst, Success), `,"asked":`...), a), '}')
}
