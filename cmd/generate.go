package cmd

import "github.com/spf13/cobra"

// newGenerate returns the command that writes documents about the commands. It is hidden: packages and documents are
// built with it.
func newGenerate(env *Env) *cobra.Command {
	c := newGroup("generate", "Generate documents about the commands", newGenerateMan(env), newGenerateMarkdown(env))
	c.Hidden = true
	return c
}
