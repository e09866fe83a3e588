package cmd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"imctl/bridge/admin"
)

// eachLine calls do with the number and the text of every line that is not empty. A line that is too long has no text.
func eachLine(in io.Reader, most int, do func(line int, text []byte, tooLong bool) error) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	for n := 1; ; n++ {
		text, tooLong, err := boundedLine(lines, most)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		end := err != nil
		if text = bytes.TrimSpace(text); tooLong || len(text) > 0 {
			if err := do(n, text, tooLong); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
	}
}

// boundedLine reads a line. It does not return the whole text of a line that is too long.
func boundedLine(r *bufio.Reader, most int) (text []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if tooLong = tooLong || len(text)+len(part) > most; !tooLong {
			text = append(text, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, tooLong, err
		}
	}
}

// readJSONL reads a user or a part of a conversation from each line.
func readJSONL(in *bufio.Reader, s *importSource, yield func(importEntry) error) error {
	return eachLine(in, s.most, func(line int, text []byte, tooLong bool) error {
		if tooLong {
			return yield(invalid(line, "longer than %d bytes", s.most))
		}
		record, err := parseRecord(text)
		return yield(importEntry{recordLine: record, at: place{line: line}, size: len(text), err: err})
	})
}

// jsonUser is a line of JSON with a user. Its friends and requests may be accounts.
type jsonUser struct {
	recordLine
	Friends  []jsonBond `json:"friends"`
	Requests []jsonBond `json:"requests"`
	Asked    []jsonBond `json:"asked"`
}

// jsonBond is a friend or a request: an account, or an object that names the other user by id or by account.
type jsonBond struct {
	ID      string    `json:"id"`
	Account string    `json:"account"`
	Alias   string    `json:"alias"`
	Note    string    `json:"note"`
	Since   time.Time `json:"since"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *jsonBond) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte(`"`)) {
		return json.Unmarshal(text, &b.Account)
	}
	type plain jsonBond // without this method
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode((*plain)(b)); err != nil {
		return err
	}
	if b.ID == "" && b.Account == "" {
		return errors.New("friends and requests must have an id or an account")
	}
	return nil
}

// parseRecord parses a line of JSON. It rejects unknown fields, so that a misspelled field is not silently dropped. Its
// errors quote keys, never values, since values may be secret.
func parseRecord(text []byte) (recordLine, error) {
	var u jsonUser
	if err := parseStrictly(text, &u); err != nil {
		return recordLine{}, err
	}
	if u.Talk != nil && u.Version != 1 {
		return recordLine{}, errors.New("v must be 1")
	}
	r := u.recordLine
	for _, b := range u.Friends {
		r.Friends = append(r.Friends, admin.RecordFriend{ID: b.ID, Account: b.Account, Alias: b.Alias, Since: b.Since})
	}
	for _, b := range u.Requests {
		r.Requests = append(r.Requests, admin.RecordRequest{ID: b.ID, Account: b.Account, Note: b.Note, Since: b.Since})
	}
	for _, b := range u.Asked {
		r.Asked = append(r.Asked, admin.RecordRequest{ID: b.ID, Account: b.Account, Note: b.Note, Since: b.Since})
	}
	return r, nil
}

// parseStrictly parses one object into to.
func parseStrictly(text []byte, to any) error {
	if !utf8.Valid(text) {
		return errors.New("not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(to)
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		return fmt.Errorf("%s must be of type %s", wrongType.Field, wrongType.Type)
	case err == nil && d.More():
		return errors.New("unexpected text after the object")
	case err == nil:
		return nil
	case strings.HasPrefix(err.Error(), "parsing time"):
		return errors.New("created and since must be times such as 2026-01-02T15:04:05Z")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}
