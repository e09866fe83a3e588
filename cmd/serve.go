package cmd

import (
	"errors"

	"github.com/spf13/cobra"
)

func newServe(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Args:  mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := loadConfig(env, c.Flags()); err != nil {
				return err
			}
			return errors.New("the server is not wired yet")
		},
	}
	addSettingFlags(c.Flags())
	return c
}
