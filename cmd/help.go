package cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newHelp returns the command that shows the help of another one. The one of cobra exits with 0 for an unknown command.
func newHelp(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND...]",
		Short: "Show the help of a command",
		Long:  "Show the help of a command, as COMMAND --help does. Without COMMAND, list all commands.",
		Example: `  imctl help
  imctl help user create`,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if parent, rest, err := c.Root().Find(args); err == nil && len(rest) == 0 {
				for _, sub := range parent.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			target, rest, err := c.Root().Find(args)
			if err != nil {
				target, rest = c.Root(), args
			}
			if len(rest) > 0 {
				return &failure{code: exitUse, err: unknownCommand(target, rest), remedy: "see " + target.CommandPath() + " --help"}
			}
			target.InitDefaultHelpFlag()
			target.SetOut(env.Out)
			return target.Help()
		},
	}
}

// fitHelp makes the help of root and the commands below it fit a terminal of some columns. 0 means no limit.
func fitHelp(root *cobra.Command, width int) {
	if width == 0 {
		return
	}
	// The template has {{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}.
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "FlagUsages |", fmt.Sprintf("FlagUsagesWrapped %d |", width)))
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		c.Long = fitText(c.Long, width)
		help(c, args)
	})
}

// fitText wraps the paragraphs of a help text that are wider than a terminal. Indented lines stay.
func fitText(text string, width int) string {
	var out []string
	var paragraph []string
	flush := func() {
		wide := false
		for _, line := range paragraph {
			wide = wide || columns(line) > width
		}
		if wide {
			paragraph = wrap(strings.Join(paragraph, " "), width)
		}
		out = append(out, paragraph...)
		paragraph = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || strings.HasPrefix(line, " ") {
			flush()
			out = append(out, line)
			continue
		}
		paragraph = append(paragraph, line)
	}
	flush()
	return strings.Join(out, "\n")
}
