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
		Short: "Print a script that lets a shell complete imctl's commands",
		Long: `Prints a script for bash, zsh, fish or powershell. For the shell that runs now:

  source <(imctl completion bash)
  source <(imctl completion zsh)
  imctl completion fish | source
  imctl completion powershell | Out-String | Invoke-Expression`,
		Example:   "  imctl completion bash > /etc/bash_completion.d/imctl",
		Args:      wants("SHELL"),
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
			return wrongUse("no completion for %q, only for bash, zsh, fish and powershell", args[0])
		},
	}
}

// completeBelow has shells offer what fits: no files where a user or a name is meant, and the formats of -o.
func completeBelow(root *cobra.Command) {
	for _, c := range root.Commands() {
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
		completeBelow(c)
	}
}

// completeFlag has shells offer these values of a flag.
func completeFlag(c *cobra.Command, name string, values ...cobra.Completion) {
	// It fails for a flag that is not there or has them already, and nothing comes of it but that.
	_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
