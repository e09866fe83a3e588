package cmd

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"imctl/bridge/admin"
)

// csvColumn sets a field of a record. Its error does not show the value.
type csvColumn func(r *admin.Record, value string) error

// csvColumns are the columns by their names.
var csvColumns = map[string]csvColumn{
	"id":            func(r *admin.Record, v string) error { r.ID = v; return nil },
	"account":       func(r *admin.Record, v string) error { r.Account = v; return nil },
	"password":      func(r *admin.Record, v string) error { r.Password = v; return nil },
	"password_hash": func(r *admin.Record, v string) error { r.PasswordHash = v; return nil },
	"name":          func(r *admin.Record, v string) error { r.Name = v; return nil },
	"mail":          func(r *admin.Record, v string) error { r.Mail = v; return nil },
	"picture":       func(r *admin.Record, v string) error { r.Picture = v; return nil },
	"sex":           func(r *admin.Record, v string) error { r.Sex = v; return nil },
	"birthday":      func(r *admin.Record, v string) error { r.Birthday = v; return nil },
	"sign":          func(r *admin.Record, v string) error { r.Sign = v; return nil },
	"created":       setCreated,
	"disabled":      setDisabled,
	"friends":       setFriends,
}

// csvNames are other names of columns.
var csvNames = map[string]string{"username": "account", "login": "account", "email": "mail", "display_name": "name", "hash": "password_hash"}

func setCreated(r *admin.Record, value string) (err error) {
	if value == "" {
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if r.Created, err = time.Parse(layout, value); err == nil {
			return nil
		}
	}
	return errors.New("created must be a time such as 2026-01-02T15:04:05Z or 2026-01-02")
}

func setDisabled(r *admin.Record, value string) error {
	switch strings.ToLower(value) {
	case "", "0", "false", "no":
	case "1", "true", "yes":
		r.Disabled = true
	default:
		return errors.New("disabled must be true or false")
	}
	return nil
}

// setFriends sets friends to accounts that are separated by ; or |.
func setFriends(r *admin.Record, value string) error {
	r.Friends = friendsByAccount(strings.FieldsFunc(value, func(c rune) bool { return c == ';' || c == '|' }))
	return nil
}

// errEntryTooLong: an entry is longer than the source allows.
var errEntryTooLong = errors.New("the entry is too long")

// boundedReader fails with errEntryTooLong when left bytes have been read. Its user sets left at each entry.
type boundedReader struct {
	in   io.Reader
	left int
}

// Read implements io.Reader.
func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errEntryTooLong
	}
	n, err := b.in.Read(p)
	b.left -= n
	return n, err
}

// readCSV reads a user from each row. The first row names the columns.
func readCSV(in *bufio.Reader, s *importSource, yield func(importEntry) error) error {
	bounded := &boundedReader{in, s.most}
	rows := csv.NewReader(bounded)
	rows.Comma = csvDelimiter(in)
	names, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		_, err = csvProblem(rows, err)
		return &failure{exitUse, fmt.Errorf("the header of the CSV: %w", err), csvRemedy}
	}
	columns, err := csvHeader(names)
	if err != nil {
		return err
	}
	for {
		before := rows.InputOffset()
		bounded.left = s.most
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			line, problem := csvProblem(rows, err)
			if yielded := yield(importEntry{at: place{line: line}, err: problem}); yielded != nil || errors.Is(err, errEntryTooLong) {
				return yielded
			}
			if problem == err { // reading failed
				return err
			}
			continue
		}
		line, _ := rows.FieldPos(0)
		e := importEntry{at: place{line: line}, size: int(rows.InputOffset() - before)}
		e.err = csvRecord(&e.Record, columns, row)
		if err := yield(e); err != nil {
			return err
		}
	}
}

// csvDelimiter returns the delimiter of the first row.
func csvDelimiter(in *bufio.Reader) rune {
	start, _ := in.Peek(4 << 10) // an error is returned by the next read too
	first, _, _ := strings.Cut(string(start), "\n")
	best := ','
	for _, c := range ";\t" {
		if strings.Count(first, string(c)) > strings.Count(first, string(best)) {
			best = c
		}
	}
	return best
}

// csvProblem returns the line of an error of the reader, and the error without the line.
func csvProblem(rows *csv.Reader, err error) (line int, problem error) {
	var parse *csv.ParseError
	switch {
	case errors.Is(err, csv.ErrFieldCount) && errors.As(err, &parse):
		return parse.StartLine, fmt.Errorf("not as many fields as the header, which has %d", rows.FieldsPerRecord)
	case errors.Is(err, errEntryTooLong):
		if errors.As(err, &parse) {
			line = parse.StartLine
		}
		return line, fmt.Errorf("%w: a quote is missing; the lines after it are not read", errEntryTooLong)
	case errors.As(err, &parse):
		return parse.StartLine, fmt.Errorf("line %d: %w", parse.Line, parse.Err)
	}
	return 0, err
}

const csvRemedy = "the first row must name the columns, such as account,password_hash,mail: docs/import.md lists them"

// csvHeader returns the columns with these names. Errors: a failure.
func csvHeader(names []string) (columns []csvColumn, err error) {
	seen := make(map[string]bool)
	for _, name := range names {
		field := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), " ", "_")
		if other, ok := csvNames[field]; ok {
			field = other
		}
		column, ok := csvColumns[field]
		switch {
		case !ok && len(name) > 40: // it may be a password hash of a file without a header
			return nil, &failure{exitUse, errors.New("the header of the CSV has an unknown column"), csvRemedy}
		case !ok:
			return nil, &failure{exitUse, fmt.Errorf("the header of the CSV has an unknown column: %q", printable(name)), csvRemedy}
		case seen[field]:
			return nil, &failure{exitUse, fmt.Errorf("the header of the CSV has %s twice", field), csvRemedy}
		}
		seen[field] = true
		columns = append(columns, column)
	}
	if !seen["account"] {
		return nil, &failure{exitUse, errors.New("the header of the CSV has no column account"), csvRemedy}
	}
	return columns, nil
}

// csvRecord sets the fields of a record to those of a row.
func csvRecord(r *admin.Record, columns []csvColumn, row []string) error {
	for i, set := range columns {
		if !utf8.ValidString(row[i]) {
			return errors.New("not valid UTF-8")
		}
		if err := set(r, row[i]); err != nil {
			return err
		}
	}
	return nil
}
