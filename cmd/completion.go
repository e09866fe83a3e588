package cmd

import (
	"github.com/spf13/cobra"
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
