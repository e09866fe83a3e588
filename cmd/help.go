package cmd

import (
	"fmt"

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
				return &failure{code: exitUse, err: err, remedy: "see imctl --help"}
			}
			if len(rest) > 0 {
				return &failure{code: exitUse, err: fmt.Errorf("unknown command %q", rest[0]), remedy: "see " + target.CommandPath() + " --help"}
			}
			target.InitDefaultHelpFlag()
			target.SetOut(env.Out)
			return target.Help()
		},
	}
}
