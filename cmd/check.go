package cmd

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCheck(env *Env) *cobra.Command {
	var show bool
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say whether the configuration is right",
		Long: `Reads the configuration as serve would: FILE, or --config, or config.yaml in the
working directory, then IMCTL_ variables, then flags. Says everything that is wrong
with it, one line each, and exits with 2 where anything is.`,
		Example: "  imctl check config.yaml",
		Args:    mayHave(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				if c.Flags().Changed("config") {
					return wrongUse("FILE and --config are the same: give one of them")
				}
				if args[0] == "" {
					return wrongUse("FILE must not be empty")
				}
				if err := c.Flags().Set("config", args[0]); err != nil {
					return err
				}
			}
			config, err := loadConfig(env, c.Flags())
			if err != nil {
				return err
			}
			return runCheck(env, config, show)
		},
	}
	addSettingFlags(c.Flags(), "none")
	c.Flags().BoolVar(&show, "show", false, "print every setting, its value and where it comes from")
	return c
}

func runCheck(env *Env, config *Config, show bool) error {
	if mistakes := config.checkFiles(); len(mistakes) > 0 {
		return mistakes
	}
	if show {
		rows := make([][]string, 0, 64)
		for _, s := range config.settings() {
			rows = append(rows, []string{s.key, s.String(), config.Origin(s.key)})
		}
		return newTable(env.Out, "setting", "value", "from").write(rows...)
	}
	name := config.File
	if name == "" {
		name = "no " + defaultConfigFile + " here, and the defaults"
	}
	_, err := fmt.Fprintf(env.Out, "%s: right\n", name)
	return err
}
