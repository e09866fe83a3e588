package cmd

import "strings"

// maxKeyShown limits how much of an unknown key a message repeats. The keys of all settings are shorter.
const maxKeyShown = 64

// Mistake is one mistake in the configuration.
type Mistake struct {
	Where string // config.yaml:12, IMCTL_DATA or --data
	Key   string // "" if it does not concern one key
	Text  string
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

// Mistakes is the error of a wrong configuration. It lists all mistakes.
type Mistakes []Mistake

// Error returns the mistakes, one per line.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.String()
	}
	return strings.Join(lines, "\n")
}

// unknown returns the message for an unknown name. It suggests the known name that is closest.
func unknown(kind, name string, known []string) string {
	best, distance := "", len(name)/3+1
	if len(name) > maxKeyShown {
		known = nil // computing a distance costs the product of the lengths
	}
	for _, candidate := range known {
		if d := editDistance(name, candidate); d < distance || d == distance && best == "" {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return "unknown " + kind
	}
	return "unknown " + kind + ": did you mean " + best + "?"
}

// editDistance returns the Levenshtein distance of a and b, in bytes.
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
