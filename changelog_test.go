package imctl_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	changelogVersion = regexp.MustCompile(`^## (Unreleased|\[?(\d+)\.(\d+)\.(\d+)\]? - (\d{4}-\d{2}-\d{2}))$`)
	changelogSection = regexp.MustCompile(`^### (Security|Removed|Deprecated|Fixed|Changed|Added)$`)
)

// TestChangelog: CHANGELOG.md has the form of Keep a Changelog.
func TestChangelog(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range changelogProblems(string(page)) {
		t.Error(problem)
	}
}

// TestChangelogProblems: changelogProblems finds each deviation from the form.
func TestChangelogProblems(t *testing.T) {
	t.Parallel()
	const good = "# Changelog\n\n## Unreleased\n\n### Fixed\n\n- A fault.\n\n## 1.0.0 - 2026-01-02\n\n### Added\n\n- All\n  of it.\n"
	if problems := changelogProblems(good); len(problems) > 0 {
		t.Errorf("good changelog: %q", problems)
	}
	for name, c := range map[string]struct{ old, replacement, want string }{
		"title":           {"# Changelog", "# News", "title"},
		"unreleased":      {"## Unreleased", "## 2.0.0 - 2026-02-02", "does not begin with Unreleased"},
		"version":         {"## 1.0.0 - 2026-01-02", "## Version 1", "is not a version"},
		"date":            {"2026-01-02", "2026-13-02", "date"},
		"section":         {"### Added", "### New", "is not a section"},
		"twice":           {"### Fixed\n\n- A fault.", "### Fixed\n\n- A fault.\n\n### Fixed\n\n- B.", "twice"},
		"empty section":   {"- A fault.", "", "has no entry"},
		"outside section": {"### Fixed\n", "", "outside a section"},
		"prose":           {"- A fault.", "A fault.", "is not an entry"},
		"last is empty":   {"- All\n  of it.\n", "", "has no entry"},
	} {
		problems := strings.Join(changelogProblems(strings.Replace(good, c.old, c.replacement, 1)), "\n")
		if !strings.Contains(problems, c.want) {
			t.Errorf("%s: problems are %q, want %q", name, problems, c.want)
		}
	}
}

// changelogProblems returns how a changelog deviates from the form: a title, Unreleased, then the versions with their
// dates, each with sections of entries.
func changelogProblems(page string) (problems []string) {
	if !strings.HasPrefix(page, "# Changelog\n") {
		problems = append(problems, "the title is not # Changelog")
	}
	version, section := "", ""
	entries := 0
	sections := make(map[string]bool)
	endSection := func() {
		if section != "" && entries == 0 {
			problems = append(problems, version+": "+section+" has no entry")
		}
		section, entries = "", 0
	}
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "## "):
			endSection()
			if version == "" && line != "## Unreleased" {
				problems = append(problems, "it does not begin with Unreleased")
			}
			version = strings.TrimPrefix(line, "## ")
			clear(sections)
			m := changelogVersion.FindStringSubmatch(line)
			if m == nil {
				problems = append(problems, line+" is not a version with its date")
			} else if _, err := time.Parse(time.DateOnly, m[5]); m[5] != "" && err != nil {
				problems = append(problems, line+": the date is wrong")
			}
		case strings.HasPrefix(line, "#") && version != "":
			endSection()
			section = strings.TrimPrefix(line, "### ")
			if !changelogSection.MatchString(line) {
				problems = append(problems, version+": "+line+" is not a section")
			}
			if sections[section] {
				problems = append(problems, version+": "+section+" is there twice")
			}
			sections[section] = true
		case version == "" || line == "" || strings.HasPrefix(line, "  "):
		case !strings.HasPrefix(line, "- "):
			problems = append(problems, version+": "+line+" is not an entry")
		case section == "":
			problems = append(problems, version+": "+line+" is outside a section")
		default:
			entries++
		}
	}
	endSection()
	return problems
}
