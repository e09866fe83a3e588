package cmd

import (
	"strings"
	"testing"

	"imctl/kv"

	"github.com/spf13/cobra"
)

// leaves returns the visible commands without subcommands.
func leaves(c *cobra.Command) (all []*cobra.Command) {
	if c.Hidden {
		return nil
	}
	if !c.HasSubCommands() {
		return []*cobra.Command{c}
	}
	for _, sub := range c.Commands() {
		all = append(all, leaves(sub)...)
	}
	return all
}

// TestCommandsAreExplained checks the help text and the example of every command.
func TestCommandsAreExplained(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range leaves(newRoot(&Env{})) {
		words := strings.Fields(c.CommandPath())[1:]
		help := command(t, dir, "", append(words, "--help")...).want(t, exitDone, "Usage:", "Examples:", "imctl "+strings.Join(words, " "))
		if !strings.HasPrefix(c.Use, words[len(words)-1]) || c.Short == "" || strings.HasSuffix(c.Short, ".") || c.Long == "" {
			t.Errorf("%s: invalid Use %q or Short %q, or no Long", c.CommandPath(), c.Use, c.Short)
		}
		for line := range strings.Lines(help.out) {
			if n := columns(strings.TrimRight(line, "\n")); n > 110 && !strings.Contains(line, "--") {
				t.Errorf("%s: a line of help has %d columns: %s", c.CommandPath(), n, line)
			}
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") || !strings.Contains(c.Example, "imctl "+strings.Join(words, " ")) {
				t.Errorf("%s: example %q", c.CommandPath(), line)
			}
		}
		if f := c.Flags().Lookup("output"); f != nil {
			command(t, dir, "", append(words, "-o", "xml")...).want(t, exitUse, "must be table or json")
		}
	}
}

// TestCommandsRefuse checks that every command rejects unknown flags and wrong arguments.
func TestCommandsRefuse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range leaves(newRoot(&Env{})) {
		words := strings.Fields(c.CommandPath())[1:]
		command(t, dir, "", append(words, "--no-such-flag")...).want(t, exitUse, "unknown flag: --no-such-flag; see imctl")
		named := strings.Fields(c.Use)[1:]
		if strings.Contains(c.Use, "...") {
			command(t, dir, "", append(words, "a", "")...).want(t, exitUse, "must not be empty")
			continue
		}
		args := words
		for range named {
			args = append(args, "something")
		}
		command(t, dir, "", append(args, "unexpected")...).want(t, exitUse, `unexpected argument "unexpected"; see imctl`)
		if required := strings.Count(c.Use, " ") - strings.Count(c.Use, "["); required > 0 {
			command(t, dir, "", words...).want(t, exitUse, "missing argument "+named[0])
		}
	}
}

// TestCommandsComplete checks the shell completions.
func TestCommandsComplete(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		args  string
		words []string
		files bool
	}{
		{"friend ", []string{"add", "list", "remove"}, false},
		{"friend list ", nil, false},
		{"session list -o ", []string{"table", "json"}, false},
		{"attach add x --role ", kv.RoleNames(), false},
		{"events --filter ", []string{"dialogue.>"}, false},
		{"user import ", nil, true},
		{"user list --data ", nil, true},
	} {
		args := strings.Split(test.args, " ")
		a := command(t, dir, "", append([]string{"__complete"}, args...)...)
		for _, w := range test.words {
			if !strings.Contains("\n"+a.out, "\n"+w) {
				t.Errorf("%q: completion %q is not in %s", test.args, w, a.out)
			}
		}
		if files := strings.HasSuffix(a.out, ":0\n"); files != test.files {
			t.Errorf("%q: completes file names: %t, want %t: %s", test.args, files, test.files, a.out)
		}
	}
}
