package cmd

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newGenerateMarkdown returns the command that writes docs/commands.
func newGenerateMarkdown(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "markdown DIR",
		Short:   "Write a page of Markdown for each command",
		Long:    "Write a page of Markdown for each command to DIR, with an index in README.md, and remove other pages there.",
		Example: "  imctl generate markdown docs/commands",
		Args:    exactArgs("DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			dir := env.path(args[0])
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			pages := markdownPages(c.Root())
			old, err := filepath.Glob(filepath.Join(dir, "*.md"))
			if err != nil {
				return err
			}
			for _, path := range old {
				if pages[filepath.Base(path)] == nil {
					if err := os.Remove(path); err != nil {
						return err
					}
				}
			}
			for name, text := range pages {
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// markdownPages returns the pages of all visible commands, by the name of their file. A group of commands is one page.
func markdownPages(root *cobra.Command) map[string][]byte {
	pages := make(map[string][]byte)
	var index bytes.Buffer
	fmt.Fprintf(&index, "# Commands\n\n%s\n\n", escapeText(root.Long))
	index.WriteString("`imctl generate markdown docs/commands` writes these pages from the help texts.\n\n| Command | |\n| --- | --- |\n")
	for _, c := range sortedCommands(root) {
		page := commandFile(c)
		fmt.Fprintf(&index, "| [%s](%s) | %s |\n", c.CommandPath(), page, c.Short)
		var text bytes.Buffer
		writeMarkdown(&text, c, 1)
		for _, sub := range sortedCommands(c) {
			fmt.Fprintf(&index, "| [%s](%s#%s) | %s |\n", sub.CommandPath(), page, anchor(sub.CommandPath()), sub.Short)
			text.WriteString("\n")
			writeMarkdown(&text, sub, 2)
		}
		pages[page] = text.Bytes()
	}
	pages["README.md"] = index.Bytes()
	return pages
}

// sortedCommands returns the visible commands below c.
func sortedCommands(c *cobra.Command) []*cobra.Command {
	all := slices.DeleteFunc(slices.Clone(c.Commands()), func(sub *cobra.Command) bool { return sub.Hidden })
	slices.SortFunc(all, func(a, b *cobra.Command) int { return cmp.Compare(a.Name(), b.Name()) })
	return all
}

func commandFile(c *cobra.Command) string { return c.Name() + ".md" }

// anchor returns the anchor of a heading.
func anchor(heading string) string { return strings.ReplaceAll(strings.ToLower(heading), " ", "-") }

// writeMarkdown writes the section of one command.
func writeMarkdown(w *bytes.Buffer, c *cobra.Command, level int) {
	c.InitDefaultHelpFlag()
	fmt.Fprintf(w, "%s %s\n\n", strings.Repeat("#", level), c.CommandPath())
	long := cmp.Or(c.Long, c.Short+".")
	fmt.Fprintf(w, "%s\n", escapeText(long))
	if !c.HasSubCommands() {
		fmt.Fprintf(w, "\n```text\n%s\n```\n", c.UseLine())
	}
	if c.Example != "" {
		fmt.Fprintf(w, "\n%s Examples\n\n```sh\n%s\n```\n", strings.Repeat("#", level+1), dedent(c.Example))
	}
	var options strings.Builder
	settings := 0
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			settings++
			return
		}
		options.WriteString(flagRow(f))
	})
	if c.HasSubCommands() {
		return
	}
	fmt.Fprintf(w, "\n%s Flags\n\n| Flag | |\n| --- | --- |\n%s", strings.Repeat("#", level+1), options.String())
	if settings > 0 {
		w.WriteString("\nEvery setting of [config.yaml](../../config.yaml) is also a flag.\n")
	}
}

// flagRow returns the row of a flag in a table.
func flagRow(f *pflag.Flag) string {
	name, usage := pflag.UnquoteUsage(f)
	flag := "--" + f.Name
	if f.Shorthand != "" {
		flag = "-" + f.Shorthand + ", " + flag
	}
	if name != "" {
		flag += " " + name
	}
	switch f.DefValue {
	case "", "[]", "false", "0", "0s":
	default:
		usage += fmt.Sprintf(" (default `%s`)", f.DefValue)
	}
	return fmt.Sprintf("| `%s` | %s |\n", flag, strings.ReplaceAll(escapeText(usage), "|", `\|`))
}

// escapeText returns a help text as Markdown. Indented lines are code there, too.
func escapeText(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	code := false
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line, "  "):
			if code = code || i == 0 || lines[i-1] == ""; code {
				lines[i] = "  " + line
			}
		case line != "":
			code = false
			lines[i] = strings.NewReplacer("<", "&lt;", "*", `\*`).Replace(line)
		}
	}
	return strings.Join(lines, "\n")
}

// dedent removes the indentation of examples.
func dedent(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}
