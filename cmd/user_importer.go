package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"imctl/bridge/admin"
)

const (
	// concurrentImports is how many requests are in flight, so that the server never waits for the next one.
	concurrentImports = 3
	// importBonds limits the friendships and requests of one request, since the server may have to notify users online
	// of each of them.
	importBonds = 500
	// importPasswords limits the passwords of one request. The server hashes each of them.
	importPasswords = 20
)

// importer reads its input several times: for the accounts, for the friendships and requests between them, and for their
// conversations.
type importer struct {
	client    *admin.Client
	source    *importSource
	keepGoing bool
	trial     *importTrial // of a dry run; else nil
	stop      int          // the number of the entry before which the import ends; 0 if it reads all entries
	progress  *progressLine
	errs      io.Writer
	details   io.Writer // of a report; nil if there is none
	// step is called after each request, with the name of the pass and the number of the request in it.
	step func(string)

	mu sync.Mutex // guards the fields below
	importReport
	requests  map[string]int // that were answered, by pass
	invalid   map[int]bool   // numbers of the invalid entries
	kinds     map[string]int // of what was skipped
	detailErr error
}

// errInvalidLines means that the import ended at an invalid line.
var errInvalidLines = errors.New("invalid lines")

// errStop ends a pass before an entry that an earlier one has found invalid.
var errStop = errors.New("stop")

func (i *importer) run(ctx context.Context) error {
	i.invalid, i.requests = make(map[int]bool), make(map[string]int)
	stopped := false
	for _, pass := range []func() error{
		func() error { return i.pass(ctx, &accountPass) },
		func() error { return i.pass(ctx, &bondPass) },
		func() error { return i.talks(ctx, false) },
		func() error { return i.talks(ctx, true) },
	} {
		err := pass()
		if err != nil && !errors.Is(err, errInvalidLines) {
			return err
		}
		if err != nil {
			stopped = true
			i.stop = slices.Min(slices.Collect(maps.Keys(i.invalid)))
		}
	}
	others := "were"
	if i.trial != nil {
		others = "would be"
	}
	switch {
	case i.detailErr != nil:
		return fmt.Errorf("write the report: %w", i.detailErr)
	case stopped:
		return fmt.Errorf("%s; the lines after it %s not imported", plural(i.Wrong, "invalid line"), others)
	case i.Wrong > 0:
		return fmt.Errorf("%s; the other lines %s imported", plural(i.Wrong, "invalid line"), others)
	}
	return nil
}

// importPass is a pass over the users of the input.
type importPass struct {
	name  string
	bonds bool // only users with friendships or requests
	// part returns the part of a record that the pass sends.
	part func(admin.Record) admin.Record
	send func(*importer, context.Context, []admin.Record) (admin.ImportResult, error)
	// count adds the result of an entry to the report.
	count func(*importer, *importEntry, admin.Imported)
}

var accountPass = importPass{
	name: "accounts",
	part: func(r admin.Record) admin.Record {
		r.Friends, r.Requests, r.Asked, r.Blocked = nil, nil, nil, nil
		return r
	},
	send: func(i *importer, ctx context.Context, records []admin.Record) (admin.ImportResult, error) {
		if i.trial != nil {
			return i.trial.users(ctx, i.client, records)
		}
		return i.client.ImportUsers(ctx, records)
	},
	count: func(i *importer, e *importEntry, r admin.Imported) {
		if r.State == admin.StateCreated {
			i.Created++
		} else {
			i.There++
		}
		i.progress.update("accounts: %d created, %d existed", i.Created, i.There)
	},
}

var bondPass = importPass{
	name:  "friends",
	bonds: true,
	part: func(r admin.Record) admin.Record {
		return admin.Record{Version: r.Version, ID: r.ID, Account: r.Account, Friends: r.Friends, Requests: r.Requests, Asked: r.Asked, Blocked: r.Blocked}
	},
	send: func(i *importer, ctx context.Context, records []admin.Record) (admin.ImportResult, error) {
		if i.trial != nil {
			return i.trial.friends(ctx, i.client, records)
		}
		return i.client.ImportFriends(ctx, records)
	},
	count: func(i *importer, e *importEntry, r admin.Imported) {
		i.Friendships += r.Friends
		i.Requests += r.Requests
		i.Missing += r.Missing
		for _, name := range r.Unknown {
			i.detail(e.at, e.Account, "friends", "no user "+name, "missing")
		}
		i.progress.update("%d accounts, %d friendships, %d requests", i.Created+i.There, i.Friendships, i.Requests)
	},
}

// importBatch holds the entries of one request, and the parts of their records that it sends.
type importBatch struct {
	entries   []importEntry // without their records' bonds and passwords
	records   []admin.Record
	bytes     int
	bonds     int
	passwords int
}

// pass reads the input once and sends its records in batches.
func (i *importer) pass(ctx context.Context, p *importPass) error {
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(concurrentImports)
	if i.trial != nil {
		g.SetLimit(1) // the first of two accounts is the one that is created
	}
	var next importBatch
	flush := func() {
		batch := next
		next = importBatch{}
		if len(batch.records) > 0 {
			g.Go(func() error { return i.send(groupCtx, p, batch) })
		}
	}
	readErr := i.each(groupCtx, func(e *importEntry) error {
		if !p.bonds {
			i.skip(e)
		}
		if e.skipped != nil && e.Account == "" || e.Talk != nil || p.bonds && e.Bonds() == 0 || !p.bonds && e.bonds || i.isInvalid(e.n) {
			return nil
		}
		record := p.part(e.Record)
		text, err := json.Marshal(record)
		if err != nil {
			return i.reportInvalid(e, err.Error())
		}
		if len(text) > i.source.most {
			return i.reportInvalid(e, fmt.Sprintf("longer than %d bytes", i.source.most))
		}
		bonds := 0
		if p.bonds {
			bonds = e.Bonds()
		}
		if len(next.records) == admin.MaxRecords || next.bytes+len(text) > i.source.most || bonds > 0 && next.bonds+bonds > importBonds || next.passwords == importPasswords {
			flush()
		}
		next.entries = append(next.entries, importEntry{n: e.n, at: e.at, bonds: e.bonds, recordLine: recordLine{Record: admin.Record{Account: e.Account}}})
		next.records = append(next.records, record)
		next.bytes += len(text)
		next.bonds += bonds
		if record.Password != "" {
			next.passwords++
		}
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

func (i *importer) send(ctx context.Context, p *importPass, batch importBatch) error {
	result, err := p.send(i, ctx, batch.records)
	if err != nil {
		return fmt.Errorf("%s to %s: %w", batch.entries[0].at, batch.entries[len(batch.entries)-1].at, err)
	}
	var failed error
	for n, r := range result.Results {
		e := &batch.entries[n]
		if r.State == admin.StateFailed && e.bonds && len(r.Unknown) > 0 { // the user was not imported
			r = admin.Imported{State: admin.StateDone, Missing: 1, Unknown: r.Unknown}
		}
		if r.State == admin.StateFailed {
			failed = errors.Join(failed, i.reportInvalid(e, r.Error))
			continue
		}
		i.mu.Lock()
		p.count(i, e, r)
		i.mu.Unlock()
	}
	i.mu.Lock()
	i.requests[p.name]++
	n := i.requests[p.name]
	i.mu.Unlock()
	i.step(fmt.Sprintf("%s %d", p.name, n))
	return failed
}

// skip counts what an entry has that is not imported.
func (i *importer) skip(e *importEntry) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for what, n := range e.skipped {
		if i.kinds == nil {
			i.kinds = make(map[string]int)
		}
		i.Skipped += n
		if _, ok := i.kinds[what]; !ok && len(i.kinds) >= 100 {
			what = "other"
		}
		i.kinds[what] += n
	}
}

// reportInvalid reports an invalid entry on standard error, once. It returns errInvalidLines unless keepGoing is set.
func (i *importer) reportInvalid(e *importEntry, reason string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.invalid[e.n] {
		i.invalid[e.n] = true
		i.Wrong++
		i.progress.stop()
		reason = printable(strings.TrimSpace(reason))
		fmt.Fprintf(i.errs, "imctl: %s: %s\n", e.at, reason)
		i.detail(e.at, e.Account, fieldOf(reason), reason, "refused")
	}
	if i.keepGoing {
		return nil
	}
	return errInvalidLines
}

// importDetail is a line of the report: an entry, or a part of it, that was not imported.
type importDetail struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line"`
	Account string `json:"account,omitempty"`
	Field   string `json:"field,omitempty"`
	Reason  string `json:"reason"`
	Result  string `json:"result"` // refused: the whole entry; missing: a friendship with a user that does not exist
}

// detail writes a line of the report. The caller holds the lock.
func (i *importer) detail(at place, account, field, reason, result string) {
	if i.details != nil && i.detailErr == nil {
		i.detailErr = writeJSON(i.details, importDetail{at.file, at.line, account, field, reason, result})
	}
}

// recordFields are the fields that the reason of a refusal may begin with.
var recordFields = []string{"v", "id", "account", "password_hash", "password", "mail", "name", "picture", "sex", "birthday", "sign", "created", "disabled", "friends", "requests", "alias", "note"}

// fieldOf returns the field that the reason of a refusal begins with, or "".
func fieldOf(reason string) string {
	first, _, _ := strings.Cut(reason, " ")
	if first = strings.TrimSuffix(first, ":"); slices.Contains(recordFields, first) {
		return first
	}
	return ""
}

func (i *importer) isInvalid(n int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.invalid[n]
}

// each calls do for each valid entry of the input, up to the one at which the import ends. It reports the invalid ones.
func (i *importer) each(ctx context.Context, do func(*importEntry) error) error {
	err := i.source.each(ctx, func(e *importEntry) error {
		switch {
		case e.n == i.stop:
			return errStop
		case e.err != nil:
			return i.reportInvalid(e, e.err.Error())
		}
		return do(e)
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}
