package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// settingAnnotation marks the flag of a setting. Its value is the key.
const settingAnnotation = "imctl_setting"

// shortFlags are additional, shorter flags of settings.
var shortFlags = map[string]string{
	"nats.url":     "nats",
	"nats.creds":   "creds",
	"nats.context": "context",
}

// settingFlag keeps the text of a flag. Load parses it, so that it reports the mistakes of all sources together.
type settingFlag string

func (f *settingFlag) String() string     { return string(*f) }
func (f *settingFlag) Set(s string) error { *f = settingFlag(s); return nil }
func (f *settingFlag) Type() string       { return "value" }

// addSettingFlags adds a flag for every setting, such as --log.level for log.level, and its short flag unless the
// command has another flag of that name. The help shows the flags of the keys in shown, or all flags if shown is empty.
func addSettingFlags(flags *pflag.FlagSet, shown ...string) {
	flags.String("config", "", "configuration `file` (default IMCTL_CONFIG, config.yaml or /etc/imctl/config.yaml)")
	for _, s := range settingFlags() {
		key := settingOfFlag(&s)
		value := settingFlag(s.DefValue)
		names := []string{key}
		if short := shortFlags[key]; short != "" && flags.Lookup(short) == nil {
			names = []string{short, key}
		}
		for i, name := range names {
			flag := s
			flag.Name, flag.Value = name, &value
			flag.Hidden = len(shown) > 0 && (i > 0 || !slices.Contains(shown, key))
			flags.AddFlag(&flag)
		}
	}
	flags.SortFlags = false
}

// settingFlags returns the flags of all settings without their values. Each of many commands has them, so they are made
// once. Nothing may change their annotations.
var settingFlags = sync.OnceValue(func() (all []pflag.Flag) {
	for _, s := range Defaults().settings() {
		flag := pflag.Flag{Name: s.key, Usage: s.help, DefValue: s.String(), Annotations: map[string][]string{settingAnnotation: {s.key}}}
		if _, ok := s.value.(*bool); ok {
			flag.NoOptDefVal = "true"
		}
		all = append(all, flag)
	}
	return all
})

// flagError returns the error of a flag, in words instead of the names of functions.
func flagError(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	var number *strconv.NumError
	reason := errors.Unwrap(invalid)
	switch kind := invalid.GetFlag().Value.Type(); {
	case kind == "duration":
		reason = errDuration
	case !errors.As(err, &number):
	case strings.HasPrefix(kind, "float"):
		reason = errors.New("must be a number")
	case kind == "bool":
		reason = errors.New("must be true or false")
	case errors.Is(number, strconv.ErrRange):
		reason = errors.New("is too large")
	default:
		reason = errors.New("must be a whole number")
	}
	return fmt.Errorf("--%s %q: %w", invalid.GetFlag().Name, invalid.GetValue(), reason)
}

// settingOfFlag returns the key of the flag's setting, "" if the flag is not of a setting.
func settingOfFlag(f *pflag.Flag) string {
	return strings.Join(f.Annotations[settingAnnotation], "")
}
