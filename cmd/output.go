package cmd

import (
	"encoding/json"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
	"golang.org/x/text/width"

	"imctl/bridge/admin"
)

// outputFormat is the flag -o: a table for people or json for programs.
type outputFormat struct{ name string }

func (o *outputFormat) addTo(flags *pflag.FlagSet) {
	o.name = "table"
	flags.VarP(o, "output", "o", "table or json")
}

func (o *outputFormat) json() bool { return o.name == "json" }

// String, Set and Type make it a flag.
func (o *outputFormat) String() string { return o.name }

// Set takes the two names.
func (o *outputFormat) Set(s string) error {
	if s != "table" && s != "json" {
		return errors.New("wants table or json")
	}
	o.name = s
	return nil
}

// Type names the value in help.
func (o *outputFormat) Type() string { return "format" }

// writeJSON writes one value on one line.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// listing is how a command lists what may be long: page after page, as they come.
type listing[T any] struct {
	output outputFormat
	limit  int // 0: all
	header []string
	row    func(T) []string
}

func (l *listing[T]) addTo(flags *pflag.FlagSet) {
	flags.IntVar(&l.limit, "limit", 0, "at most so `many`; 0: all")
	l.output.addTo(flags)
}

func (l *listing[T]) check() error {
	if l.limit < 0 {
		return wrongUse("--limit must not be negative")
	}
	return nil
}

// page is how many entries are asked for at once, 0 for as many as the server gives.
func (l *listing[T]) page() int { return min(l.limit, admin.MaxPage) }

// write writes a row for each entry, or an object on a line of its own.
func (l *listing[T]) write(w io.Writer, pages iter.Seq2[[]T, error]) error {
	t := newTable(w, slices.Clone(l.header)...)
	listed := 0
	for page, err := range pages {
		if err != nil {
			return err
		}
		if l.limit > 0 {
			page = page[:min(len(page), l.limit-listed)]
		}
		if err := l.writePage(w, t, page); err != nil {
			return err
		}
		if listed += len(page); listed == l.limit && l.limit > 0 {
			return nil
		}
	}
	return nil
}

func (l *listing[T]) writePage(w io.Writer, t *table, page []T) error {
	rows := make([][]string, 0, len(page))
	for _, entry := range page {
		if !l.output.json() {
			rows = append(rows, l.row(entry))
		} else if err := writeJSON(w, entry); err != nil {
			return err
		}
	}
	if l.output.json() {
		return nil
	}
	return t.write(rows...)
}

// table writes rows as they come, the columns aligned. It can't know how wide later rows are, so columns grow where they have to.
type table struct {
	w      io.Writer
	header []string // nil: none, or written
	widths []int
}

func newTable(w io.Writer, header ...string) *table {
	for i, h := range header {
		header[i] = strings.ToUpper(h)
	}
	return &table{w: w, header: header}
}

// write writes rows, and before the first the header.
func (t *table) write(rows ...[]string) error {
	if t.header != nil {
		rows = append([][]string{t.header}, rows...)
		t.header = nil
	}
	for _, row := range rows {
		for i, cell := range row {
			if i == len(t.widths) {
				t.widths = append(t.widths, 0)
			}
			t.widths[i] = max(t.widths[i], columns(printable(cell)))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			cell = printable(cell)
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", t.widths[i]-columns(cell)+2))
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(t.w, out.String())
	return err
}

// writeFacts writes names and values of one thing.
func writeFacts(w io.Writer, rows [][]string) error { return newTable(w).write(rows...) }

// printable replaces what would move a terminal's cursor, or turn its writing around:
// names and accounts are other people's text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// columns counts the columns that text takes on a terminal.
func columns(s string) int {
	n := 0
	for _, r := range s {
		switch kind := width.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me):
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
