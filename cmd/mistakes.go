package cmd

import "strings"

// maxKeyShown bounds what is repeated of an unknown key; no setting's comes near it.
const maxKeyShown = 64

// Mistake is one thing that is wrong with the configuration.
type Mistake struct {
	Where string // config.yaml:12, IMCTL_DATA or --data
	Key   string // "" where it is not about one key
	Text  string

	line int // in a file, for their order
}

// String returns the mistake on one line.
func (m Mistake) String() string {
	if m.Key == "" {
		return m.Where + ": " + m.Text
	}
	key := printable(m.Key)
	if len(key) > maxKeyShown {
		key = strings.ToValidUTF8(key[:maxKeyShown], "") + "..."
	}
	return m.Where + ": " + key + ": " + m.Text
}

// Mistakes is the error of a configuration: all that is wrong with it, a line each.
type Mistakes []Mistake

// Error returns the lines.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.String()
	}
	return strings.Join(lines, "\n")
}

// unknown says that there is no such name, and which one may have been meant.
func unknown(kind, name string, known []string) string {
	best, distance := "", len(name)/3+1
	if len(name) > maxKeyShown {
		known = nil // the distance costs the product of the lengths
	}
	for _, candidate := range known {
		if d := editDistance(name, candidate); d < distance || d == distance && best == "" {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return "unknown " + kind
	}
	return "unknown " + kind + ", perhaps " + best + " is meant"
}

// editDistance counts the bytes to insert, delete or replace to make b of a (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
