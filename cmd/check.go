package cmd

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"imctl/bridge/certs"
)

func newCheck(env *Env) *cobra.Command {
	var show, dry bool
	var output outputFormat
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the configuration, or with --data all records",
		Long: `Check the configuration. The command reads the same sources as serve: the configuration file, then
IMCTL_ variables, then flags. The file is FILE, --config or IMCTL_CONFIG, or else config.yaml in the working
directory, or else /etc/imctl/config.yaml. It reports each mistake on one line, and exits with
2 if there are any.

With --data, also read all records in the data directory or the configured NATS server, and remove
orphaned records, such as names and tokens of users who do not exist, or accounts that a crash of an older
version has restored. The server may be running. With --dry-run, remove nothing, and exit with 1 if there
are orphaned records.`,
		Example: "  imctl check config.yaml\n  imctl check --data --dry-run\n  imctl check --data /var/lib/imctl",
		Args:    maxArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			records, args, err := checkedData(c.Flags(), env, args)
			if err != nil {
				return err
			}
			if err := checkedFile(c.Flags(), args); err != nil {
				return err
			}
			if !records && (dry || c.Flags().Changed("output")) {
				return usageErrorf("--dry-run and --output require --data")
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
	addSettingFlags(c.Flags(), "data")
	data := c.Flags().Lookup("data")
	data.Usage, data.NoOptDefVal = "also check the records in this data directory (default is the configured one)", bareData
	c.Flags().BoolVar(&dry, "dry-run", false, "with --data, report orphaned records without removing them")
	output.addTo(c.Flags())
	c.Flags().BoolVar(&show, "show", false, "print every setting with its value and origin")
	return c
}

// bareData is the value of the flag --data without a directory.
const bareData = "configured"

// checkedData reports whether --data is set, and moves its directory from the arguments to the flag. pflag does not
// read the next argument as the value of a flag with an optional value.
func checkedData(flags *pflag.FlagSet, env *Env, args []string) (bool, []string, error) {
	data := flags.Lookup("data")
	if !data.Changed {
		return false, args, nil
	}
	if data.Value.String() != bareData {
		return true, args, nil
	}
	for i, arg := range args {
		if info, err := os.Stat(env.path(arg)); err == nil && info.IsDir() {
			return true, slices.Delete(slices.Clone(args), i, i+1), flags.Set("data", arg)
		}
	}
	data.Changed = false // use the configured directory
	return true, args, nil
}

// checkedFile moves the configuration file from the arguments to the flag --config.
func checkedFile(flags *pflag.FlagSet, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case len(args) > 1:
		return usageErrorf("unexpected argument %q", args[1])
	case flags.Changed("config"):
		return usageErrorf("FILE and --config exclude each other")
	case args[0] == "":
		return usageErrorf("FILE must not be empty")
	}
	return flags.Set("config", args[0])
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
	for _, l := range config.listeners() {
		if certs.Plain(config.TLS.Mode, l.address) {
			fmt.Fprintf(env.Err, "%s: %s: %s serves other machines without TLS, since tls.mode is off\n", config.Origin(l.key), l.key, l.address)
		}
	}
	_, err := fmt.Fprintf(env.Out, "%s: OK\n", config.source(env))
	return err
}
