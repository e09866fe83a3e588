package cmd

import (
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

const (
	// columnGap is the number of spaces between two columns.
	columnGap = 2
	// leastText is the least width of a column that is shortened or wrapped.
	leastText = 10
	// unknownTerminal is the width of a terminal that does not tell its own.
	unknownTerminal = 80
)

// A table that does not fit the terminal leaves out these columns, the first ones first. -o json has them all.
var optionalColumns = []string{"id", "user", "agent", "replicas", "consumers", "protocol", "by", "nats", "host", "mail", "address",
	"created", "issued", "oldest", "seen", "filter", "name", "alias", "node", "since", "last", "expires", "online", "used", "uses", "subject", "time"}

// Cells of these columns may be shortened. A unique prefix of a hash is enough for each command.
var shortenedColumns = []string{"name", "alias", "mail", "note", "agent", "host", "version", "hash", "filter", "event", "actor", "subject", "value"}

// The text of these columns continues on the next line, if the column is the last one of a table.
var wrappedColumns = []string{"", "detail", "dialogue", "meaning", "text", "note", "state", "agent"}

// table writes rows with aligned columns. It writes rows before it knows the later ones, so a column grows when a wider
// cell arrives. On a terminal, it leaves out, shortens and wraps columns that do not fit. Any other writer, such as a
// pipe, gets every cell in full.
type table struct {
	w       io.Writer
	names   []string // of the columns, in lower case; nil if the table has no header
	written bool     // the header has been written
	widths  []int
	limit   int    // width of the terminal; 0 means no limit
	dropped []bool // columns that are left out; the first rows decide it
}

func newTable(w io.Writer, header ...string) *table {
	return &table{w: w, names: header, limit: terminalWidth(w)}
}

// roomy reports whether columns may be wider than their cells.
func (t *table) roomy() bool { return t.limit == 0 || t.limit >= 100 }

// terminalWidth returns the number of columns of the terminal that w is, and 0 if w is no terminal.
func terminalWidth(w io.Writer) int {
	if t, ok := w.(interface{ Columns() int }); ok {
		return t.Columns()
	}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
		return n
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return unknownTerminal
}

// write writes rows. The first call also writes the header.
func (t *table) write(rows ...[]string) error {
	all := make([][]string, 0, len(rows)+1)
	if len(t.names) > 0 && !t.written {
		header := make([]string, len(t.names))
		for i, name := range t.names {
			header[i] = strings.ToUpper(name)
		}
		all = append(all, header)
	}
	t.written = true
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		all = append(all, cells)
	}
	for _, row := range all {
		for i, cell := range row {
			if i == len(t.widths) {
				t.widths = append(t.widths, 0)
			}
			t.widths[i] = max(t.widths[i], columns(cell))
		}
	}
	widths := t.fit()
	var out strings.Builder
	for _, row := range all {
		t.writeRow(&out, row, widths)
	}
	_, err := io.WriteString(t.w, out.String())
	return err
}

// name returns the name of a column, "" without a header.
func (t *table) name(i int) string {
	if i < len(t.names) {
		return t.names[i]
	}
	return ""
}

// last returns the last column that is not left out.
func (t *table) last() int {
	for i := len(t.widths) - 1; i > 0; i-- {
		if !t.dropped[i] {
			return i
		}
	}
	return 0
}

// wraps reports whether the text of column i continues on the next line.
func (t *table) wraps(i int) bool {
	return i > 0 && i == t.last() && slices.Contains(wrappedColumns, t.name(i))
}

// fit returns the widths of the columns. The first call decides which columns are left out.
func (t *table) fit() []int {
	widths := slices.Clone(t.widths)
	if t.limit == 0 {
		t.dropped = make([]bool, len(widths))
		return widths
	}
	if t.dropped == nil {
		t.drop()
	}
	for len(t.dropped) < len(widths) {
		t.dropped = append(t.dropped, false)
	}
	excess := t.total(widths) - t.limit
	for excess > 0 {
		widest := -1
		for i, w := range widths {
			if !t.dropped[i] && w > t.least(i) && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		excess--
	}
	return widths
}

// drop leaves out columns until the others fit.
func (t *table) drop() {
	t.dropped = make([]bool, len(t.widths))
	fits := func() bool {
		least := make([]int, len(t.widths))
		for i := range least {
			least[i] = t.least(i)
		}
		return t.total(least) <= t.limit
	}
	for _, name := range optionalColumns {
		if fits() {
			return
		}
		if i := slices.Index(t.names, name); i > 0 && i < len(t.dropped) {
			t.dropped[i] = true
		}
	}
}

// least returns the least width of column i.
func (t *table) least(i int) int {
	if t.wraps(i) || i > 0 && slices.Contains(shortenedColumns, t.name(i)) || t.name(i) == "hash" {
		return min(t.widths[i], leastText)
	}
	return t.widths[i]
}

// total returns the width of a row whose columns have these widths.
func (t *table) total(widths []int) int {
	sum := -columnGap
	for i, w := range widths {
		if !t.dropped[i] {
			sum += w + columnGap
		}
	}
	return sum
}

// writeRow writes one row, whose last cell may take several lines.
func (t *table) writeRow(out *strings.Builder, row []string, widths []int) {
	var line strings.Builder
	indent := 0
	for i, cell := range row {
		if t.dropped[i] {
			continue
		}
		if t.limit > 0 && t.wraps(i) {
			lines := wrap(cell, widths[i])
			line.WriteString(lines[0])
			for _, more := range lines[1:] {
				line.WriteString("\n" + strings.Repeat(" ", indent) + more)
			}
			continue
		}
		cell = cut(cell, widths[i])
		line.WriteString(cell)
		line.WriteString(strings.Repeat(" ", max(widths[i]-columns(cell), 0)+columnGap))
		indent += widths[i] + columnGap
	}
	out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// cut returns s, shortened to a number of terminal columns.
func cut(s string, most int) string {
	if columns(s) <= most {
		return s
	}
	n := 0
	for i, r := range s {
		if n += columns(string(r)); n > most-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// wrap splits s into lines of at most a number of terminal columns, between words where there are any.
func wrap(s string, most int) []string {
	var lines []string
	for columns(s) > most {
		n, end, space := 0, 0, 0
		for i, r := range s {
			if n += columns(string(r)); n > most && i > 0 {
				break
			}
			if r == ' ' {
				space = i
			}
			end = i + len(string(r))
		}
		if end < len(s) && s[end] == ' ' {
			space = end
		}
		if space > 0 {
			end = space
		}
		if end == len(s) {
			break // one wide character
		}
		lines = append(lines, s[:end])
		s = strings.TrimLeft(s[end:], " ")
	}
	return append(lines, s)
}

// columns returns the number of terminal columns that s takes.
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
