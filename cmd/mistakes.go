package cmd

import "strings"

// maxKeyShown is how many bytes of an unknown key a message repeats. The keys of all settings are shorter.
const maxKeyShown = 64

// Mistake is one error in the configuration.
type Mistake struct {
	Where string // config.yaml:12, IMCTL_DATA or --data
	Key   string // "" if the mistake does not concern a single key
	Text  string

	line int // line in the file, to sort by
}

// String returns the mistake as one line.
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

// Mistakes lists all errors in a configuration.
type Mistakes []Mistake

// Error returns one line for each mistake.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.String()
	}
	return strings.Join(lines, "\n")
}

// unknown returns the text of the mistake for an unknown name. It suggests the known name that is most similar.
func unknown(kind, name string, known []string) string {
	best, distance := "", len(name)/3+1
	if len(name) > maxKeyShown {
		known = nil // comparing takes time proportional to the product of the lengths
	}
	for _, candidate := range known {
		if d := editDistance(name, candidate); d < distance || d == distance && best == "" {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return "unknown " + kind
	}
	return "unknown " + kind + "; did you mean " + best + "?"
}

// editDistance returns the Levenshtein distance of a and b: the number of bytes to insert, delete or replace.
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
