package cmd

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newCompletion(env *Env) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a shell completion script",
		Long: `Print a completion script for bash, zsh, fish or powershell. To load it into the current shell:

  source <(imctl completion bash)
  source <(imctl completion zsh)
  imctl completion fish | source
  imctl completion powershell | Out-String | Invoke-Expression`,
		Example:   "  imctl completion bash > /etc/bash_completion.d/imctl",
		Args:      exactArgs("SHELL"),
		ValidArgs: shells,
		RunE: func(c *cobra.Command, args []string) error {
			root := c.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(env.Out, true)
			case "zsh":
				return root.GenZshCompletion(env.Out)
			case "fish":
				return root.GenFishCompletion(env.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(env.Out)
			}
			return usageErrorf("unsupported shell %q; use bash, zsh, fish or powershell", args[0])
		},
	}
}

// addCompletions sets the completions of the commands below root: names on the running server, no file names for
// arguments that are not files, and the formats of -o.
func addCompletions(env *Env, root *cobra.Command) {
	for _, c := range root.Commands() {
		completeArgs(env, c)
		if c.ValidArgsFunction == nil && c.ValidArgs == nil && !c.HasSubCommands() && !strings.Contains(c.Use, "FILE") {
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			switch f.Value.(type) {
			case *outputFormat:
				completeFlag(c, f.Name, "table", "json")
			case *settingFlag:
				if key := settingOfFlag(f); key == "nats.url" {
					completeFlag(c, f.Name)
				}
			}
		})
		addCompletions(env, c)
	}
}

// completeFlag sets the completions of a flag.
func completeFlag(c *cobra.Command, name string, values ...cobra.Completion) {
	// The error is for a flag that does not exist or has completions already. Neither matters.
	_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
