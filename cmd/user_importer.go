package cmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"imctl/bridge/admin"
)

const (
	// concurrentImports is how many requests are in flight, so that the server never waits for the next one.
	concurrentImports = 3
	// importBonds limits the friendships and requests of one request, since the server may have to notify users online
	// of each of them.
	importBonds = 500
)

// importer reads its input several times: for the accounts, for the friendships and requests between them, and for their
// conversations.
type importer struct {
	client    *admin.Client
	in        io.ReadSeeker
	keepGoing bool
	stopLine  int // the line before which the import ends; 0 if it reads all lines
	progress  *progressLine
	errs      io.Writer

	mu sync.Mutex // guards the fields below
	importReport
	invalid map[int]bool // numbers of the invalid lines
}

// errInvalidLines means that the import ended at an invalid line.
var errInvalidLines = errors.New("invalid lines")

func (i *importer) run(ctx context.Context) error {
	i.invalid = make(map[int]bool)
	stopped := false
	for _, pass := range []func() error{
		func() error { return i.pass(ctx, false, i.client.ImportUsers, i.countAccount) },
		func() error { return i.pass(ctx, true, i.client.ImportFriends, i.countFriends) },
		func() error { return i.talks(ctx, false) },
		func() error { return i.talks(ctx, true) },
	} {
		err := pass()
		if err != nil && !errors.Is(err, errInvalidLines) {
			return err
		}
		if err != nil {
			stopped = true
			i.stopLine = slices.Min(slices.Collect(maps.Keys(i.invalid)))
		}
	}
	switch {
	case stopped:
		return fmt.Errorf("%s; the lines after it were not imported", plural(i.Wrong, "invalid line"))
	case i.Wrong > 0:
		return fmt.Errorf("%s; the other lines were imported", plural(i.Wrong, "invalid line"))
	}
	return nil
}

func (i *importer) countAccount(r admin.Imported) {
	if r.State == admin.StateCreated {
		i.Created++
	} else {
		i.There++
	}
	i.progress.update("accounts: %d created, %d existed", i.Created, i.There)
}

func (i *importer) countFriends(r admin.Imported) {
	i.Friendships += r.Friends
	i.Requests += r.Requests
	i.Missing += r.Missing
	i.progress.update("%d accounts, %d friendships, %d requests", i.Created+i.There, i.Friendships, i.Requests)
}

// importBatch holds the records of one request.
type importBatch struct {
	lines   []int
	records []admin.Record
	bytes   int
	bonds   int
}

// pass reads the input once and sends its records in batches. With bonds it sends only records with friendships or
// requests. It calls count for each imported record.
func (i *importer) pass(ctx context.Context, bonds bool, send func(context.Context, []admin.Record) (admin.ImportResult, error), count func(admin.Imported)) error {
	if _, err := i.in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(concurrentImports)
	var next importBatch
	flush := func() {
		batch := next
		next = importBatch{}
		if len(batch.records) > 0 {
			g.Go(func() error { return i.send(groupCtx, batch, send, count) })
		}
	}
	readErr := i.eachLine(groupCtx, func(line int, text []byte) error {
		record, err := i.parse(text)
		if err != nil {
			return i.reportInvalid(line, err.Error())
		}
		if record.Talk != nil || bonds && record.Bonds() == 0 || i.isInvalid(line) {
			return nil
		}
		if len(next.records) == admin.MaxRecords || next.bytes+len(text) > i.maxLine() || bonds && next.bonds+record.Bonds() > importBonds {
			flush()
		}
		next.lines, next.records = append(next.lines, line), append(next.records, record.Record)
		next.bytes += len(text)
		next.bonds += record.Bonds()
		return nil
	})
	if readErr == nil || errors.Is(readErr, errInvalidLines) {
		flush() // the lines before the invalid one
	}
	if err := g.Wait(); err != nil {
		return err // readErr would only be that groupCtx was canceled
	}
	return readErr
}

func (i *importer) send(ctx context.Context, batch importBatch, send func(context.Context, []admin.Record) (admin.ImportResult, error), count func(admin.Imported)) error {
	result, err := send(ctx, batch.records)
	if err != nil {
		return fmt.Errorf("lines %d to %d: %w", batch.lines[0], batch.lines[len(batch.lines)-1], err)
	}
	var failed error
	for n, r := range result.Results {
		if r.State == admin.StateFailed {
			failed = errors.Join(failed, i.reportInvalid(batch.lines[n], r.Error))
			continue
		}
		i.mu.Lock()
		count(r)
		i.mu.Unlock()
	}
	return failed
}

// reportInvalid reports an invalid line on standard error, once. It returns errInvalidLines unless keepGoing is set.
func (i *importer) reportInvalid(line int, reason string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.invalid[line] {
		i.invalid[line] = true
		i.Wrong++
		i.progress.stop()
		fmt.Fprintf(i.errs, "imctl: line %d: %s\n", line, printable(strings.TrimSpace(reason)))
	}
	if i.keepGoing {
		return nil
	}
	return errInvalidLines
}

func (i *importer) isInvalid(line int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.invalid[line]
}

// eachLine calls do with the number and the text of every line that is not empty.
func (i *importer) eachLine(ctx context.Context, do func(int, []byte) error) error {
	lines := bufio.NewReaderSize(i.in, 64<<10)
	for n := 1; n != i.stopLine; n++ {
		text, tooLong, err := i.readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		end := err != nil
		text = bytes.TrimSpace(text)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case tooLong:
			err = i.reportInvalid(n, fmt.Sprintf("longer than %d bytes", i.maxLine()))
		case len(text) > 0:
			err = do(n, text)
		default:
			err = nil
		}
		if err != nil || end {
			return err
		}
	}
	return nil
}

// maxLine is the length of the longest valid line, in bytes. Such a line fits into a request to the server.
func (i *importer) maxLine() int { return i.client.MaxRequest() * 3 / 4 }

// readLine reads a line. It does not return the whole text of a line that is too long.
func (i *importer) readLine(r *bufio.Reader) (text []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if tooLong = tooLong || len(text)+len(part) > i.maxLine(); !tooLong {
			text = append(text, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, tooLong, err
		}
	}
}

// parse parses a record. It rejects unknown fields, so that a misspelled field is not silently dropped. Its errors
// quote keys, never values, since values may be secret.
func (i *importer) parse(text []byte) (r recordLine, err error) {
	if !utf8.Valid(text) {
		return r, errors.New("not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err = d.Decode(&r)
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		return r, fmt.Errorf("%s must be of type %s", wrongType.Field, wrongType.Type)
	case err == nil && d.More():
		return r, errors.New("unexpected text after the object")
	case err == nil && r.Talk != nil && r.Version != 1:
		return r, errors.New("v must be 1")
	case err == nil:
		return r, nil
	case strings.HasPrefix(err.Error(), "parsing time"):
		return r, errors.New("created and since must be times such as 2026-01-02T15:04:05Z")
	}
	return r, errors.New(strings.TrimPrefix(err.Error(), "json: "))
}
