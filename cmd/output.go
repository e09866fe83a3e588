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

	"imctl/bridge/admin"
)

// outputFormat is the value of the flag -o: table or json.
type outputFormat struct{ name string }

func (o *outputFormat) addTo(flags *pflag.FlagSet) {
	o.name = "table"
	flags.VarP(o, "output", "o", "output format: table or json")
}

// linesHelp describes -o of a command that lists entries.
const linesHelp = "output format: table, or json (JSON Lines: one object on each line)"

func (o *outputFormat) json() bool { return o.name == "json" }

// String implements pflag.Value.
func (o *outputFormat) String() string { return o.name }

// Set implements pflag.Value. It accepts table and json.
func (o *outputFormat) Set(s string) error {
	if s != "table" && s != "json" {
		return errors.New("must be table or json")
	}
	o.name = s
	return nil
}

// Type implements pflag.Value. Help shows it as the name of the value.
func (o *outputFormat) Type() string { return "format" }

// writeJSON writes v as one line of JSON.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// listing writes the entries of a list command page by page, so that a long list needs little memory.
type listing[T any] struct {
	output outputFormat
	limit  int // 0 means no limit
	header []string
	row    func(T) []string
}

func (l *listing[T]) addTo(flags *pflag.FlagSet) {
	flags.IntVar(&l.limit, "limit", 0, "list at most `N` entries (0 = no limit)")
	l.output.addTo(flags)
	flags.Lookup("output").Usage = linesHelp
}

func (l *listing[T]) check() error {
	if l.limit < 0 {
		return usageErrorf("--limit must not be negative")
	}
	return nil
}

// pageSize returns the number of entries to request at once. 0 lets the server decide.
func (l *listing[T]) pageSize() int { return min(l.limit, admin.MaxPage) }

// write writes a table row or a line of JSON for each entry.
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

// writeFields writes the fields of one object as rows of a name and a value.
func writeFields(w io.Writer, rows [][]string) error { return newTable(w).write(rows...) }

// printable replaces control characters, which could move the cursor of a terminal or reverse its writing direction.
// Names and accounts are user input.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// printableWriter writes lines as printable.
type printableWriter struct{ w io.Writer }

// Write implements io.Writer.
func (p printableWriter) Write(text []byte) (int, error) {
	lines := strings.Split(string(text), "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	if _, err := io.WriteString(p.w, strings.Join(lines, "\n")); err != nil {
		return 0, err
	}
	return len(text), nil
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
