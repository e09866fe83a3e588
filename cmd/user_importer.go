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
	// importsAtOnce is how many requests are under way: one waits while the server works on another.
	importsAtOnce = 3
	// importBonds bounds the friendships of one request: each may have to be told to people who are online.
	importBonds = 500
)

// importer reads its input twice, first for the accounts, then for what is between them.
type importer struct {
	client    *admin.Client
	in        io.ReadSeeker
	keepGoing bool
	until     int // the line that the import ends before; 0: none
	progress  *progressLine
	errs      io.Writer

	mu sync.Mutex // guards what follows
	imported
	wrong map[int]bool // lines
}

// errWrongLines: the import has come to an end, and not to a good one.
var errWrongLines = errors.New("lines are wrong")

func (i *importer) run(ctx context.Context) error {
	i.wrong = make(map[int]bool)
	stopped := false
	for _, pass := range []func() error{
		func() error { return i.pass(ctx, false, i.client.ImportUsers, i.account) },
		func() error { return i.pass(ctx, true, i.client.ImportFriends, i.friends) },
	} {
		err := pass()
		if err != nil && !errors.Is(err, errWrongLines) {
			return err
		}
		if err != nil {
			stopped = true
			i.until = slices.Min(slices.Collect(maps.Keys(i.wrong)))
		}
	}
	switch {
	case stopped:
		return fmt.Errorf("%s wrong, and what comes behind was not imported", are(i.Wrong, "line"))
	case i.Wrong > 0:
		return fmt.Errorf("%s wrong; the others were imported", are(i.Wrong, "line"))
	}
	return nil
}

func (i *importer) account(r admin.Imported) {
	if r.State == admin.StateCreated {
		i.Created++
	} else {
		i.There++
	}
	i.progress.say("accounts: %d created, %d there already", i.Created, i.There)
}

func (i *importer) friends(r admin.Imported) {
	i.Friendships += r.Friends
	i.Requests += r.Requests
	i.Missing += r.Missing
	i.progress.say("%d accounts; friendships: %d, requests: %d", i.Created+i.There, i.Friendships, i.Requests)
}

// importBatch is what goes into one request.
type importBatch struct {
	lines   []int
	records []admin.Record
	bytes   int
	bonds   int
}

// pass sends all lines, or those with friendships only, and counts what became of each.
func (i *importer) pass(ctx context.Context, bonds bool, send func(context.Context, []admin.Record) (admin.ImportResult, error), done func(admin.Imported)) error {
	if _, err := i.in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(importsAtOnce)
	var next importBatch
	flush := func() {
		batch := next
		next = importBatch{}
		if len(batch.records) > 0 {
			g.Go(func() error { return i.send(sending, batch, send, done) })
		}
	}
	read := i.each(sending, func(line int, text []byte) error {
		record, err := i.parse(text)
		if err != nil {
			return i.isWrong(line, err.Error())
		}
		if bonds && record.Bonds() == 0 || i.passedOver(line) {
			return nil
		}
		if len(next.records) == admin.MaxRecords || next.bytes+len(text) > i.client.MaxRequest()*3/4 || bonds && next.bonds+record.Bonds() > importBonds {
			flush()
		}
		next.lines, next.records = append(next.lines, line), append(next.records, record)
		next.bytes += len(text)
		next.bonds += record.Bonds()
		return nil
	})
	if read == nil || errors.Is(read, errWrongLines) {
		flush() // what comes before a wrong line
	}
	if err := g.Wait(); err != nil {
		return err // and not that the reading was called off for it
	}
	return read
}

func (i *importer) send(ctx context.Context, batch importBatch, send func(context.Context, []admin.Record) (admin.ImportResult, error), done func(admin.Imported)) error {
	result, err := send(ctx, batch.records)
	if err != nil {
		return fmt.Errorf("lines %d to %d: %w", batch.lines[0], batch.lines[len(batch.lines)-1], err)
	}
	var wrong error
	for n, r := range result.Results {
		if r.State == admin.StateFailed {
			wrong = errors.Join(wrong, i.isWrong(batch.lines[n], r.Error))
			continue
		}
		i.mu.Lock()
		done(r)
		i.mu.Unlock()
	}
	return wrong
}

// isWrong names a line. It returns errWrongLines where that is the end.
func (i *importer) isWrong(line int, why string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.wrong[line] {
		i.wrong[line] = true
		i.Wrong++
		i.progress.stop()
		fmt.Fprintf(i.errs, "imctl: line %d: %s\n", line, printable(strings.TrimSpace(why)))
	}
	if i.keepGoing {
		return nil
	}
	return errWrongLines
}

func (i *importer) passedOver(line int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.wrong[line]
}

// each calls do with every line that is not empty.
func (i *importer) each(ctx context.Context, do func(int, []byte) error) error {
	lines := bufio.NewReaderSize(i.in, 64<<10)
	for n := 1; n != i.until; n++ {
		text, long, err := i.line(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		end := err != nil
		text = bytes.TrimSpace(text)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case long:
			err = i.isWrong(n, "it is longer than a message to the server may be")
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

// line reads a line. Of one that is too long it keeps nothing.
func (i *importer) line(r *bufio.Reader) (text []byte, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(text)+len(part) > i.client.MaxRequest()*3/4; !long {
			text = append(text, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, long, err
		}
	}
}

// parse reads a record. What it does not know is refused: a name that is misspelt must not be left out. The errors
// quote keys, never values.
func (i *importer) parse(text []byte) (r admin.Record, err error) {
	if !utf8.Valid(text) {
		return r, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err = d.Decode(&r)
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		return r, fmt.Errorf("%s wants %s", wrongType.Field, wrongType.Type)
	case err == nil && d.More():
		return r, errors.New("it goes on behind its object")
	case err == nil:
		return r, nil
	case strings.HasPrefix(err.Error(), "parsing time"):
		return r, errors.New("created and since want times such as 2026-01-02T15:04:05Z")
	}
	return r, errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// are says how many there are of something, as the subject of a sentence.
func are(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return fmt.Sprintf("%d %ss are", n, what)
}
