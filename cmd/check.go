package cmd

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCheck(env *Env) *cobra.Command {
	var show, records, dry bool
	var output outputFormat
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say whether the configuration is right",
		Long: `Reads the configuration as serve would: FILE, or --config, or config.yaml in the
working directory, then IMCTL_ variables, then flags. Says everything that is wrong
with it, one line each, and exits with 2 where anything is.

With --records it reads all records of the server too, which may be running, and removes
those that belong to nothing: tokens, names and rosters of users that do not exist, and the
like. With --dry-run it removes nothing, and exits with 1 where there is anything.`,
		Example: "  imctl check config.yaml\n  imctl check --records --dry-run",
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
			if !records && (dry || c.Flags().Changed("output")) {
				return wrongUse("--dry-run and --output go with --records")
			}
			config, err := loadConfig(env, c.Flags())
			if err != nil {
				return err
			}
			if records {
				if mistakes := config.checkFiles(); len(mistakes) > 0 {
					return mistakes
				}
				return checkRecords(c, env, output, dry)
			}
			return runCheck(env, config, show)
		},
	}
	addSettingFlags(c.Flags(), "none")
	c.Flags().BoolVar(&records, "records", false, "read all records, and remove those that belong to nothing")
	c.Flags().BoolVar(&dry, "dry-run", false, "with --records: remove nothing")
	output.addTo(c.Flags())
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
