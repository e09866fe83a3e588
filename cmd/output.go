package cmd

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
	"golang.org/x/text/width"
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
