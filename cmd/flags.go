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

// shortFlags are additional, shorter flags of settings.
var shortFlags = map[string]string{
	"nats.url":     "nats",
	"nats.creds":   "creds",
	"nats.context": "context",
}

// settingFlag keeps the text of the flag of a setting. Load parses it, so that it reports the mistakes of all sources
// together.
type settingFlag struct{ key, text string }

func (f *settingFlag) String() string     { return f.text }
func (f *settingFlag) Set(s string) error { f.text = s; return nil }
func (f *settingFlag) Type() string       { return "value" }

// flagTemplate is what the flags of a setting have in common in all commands.
type flagTemplate struct {
	key, help, text string
	isBool          bool
}

// flagTemplates returns the templates of all settings. Each command has a flag for every setting, so what they have in
// common is made once.
var flagTemplates = sync.OnceValue(func() (all []flagTemplate) {
	for _, s := range Defaults().settings() {
		_, isBool := s.value.(*bool)
		all = append(all, flagTemplate{s.key, s.help, s.String(), isBool})
	}
	return all
})

// addSettingFlags adds a flag for every setting, such as --log.level for log.level, and its short flag unless the
// command has another flag of that name. The help shows the flags of the keys in shown, or all flags if shown is empty.
func addSettingFlags(flags *pflag.FlagSet, shown ...string) {
	flags.String("config", "", "configuration `file` (default IMCTL_CONFIG, config.yaml or /etc/imctl/config.yaml)")
	templates := flagTemplates()
	values, room := make([]settingFlag, len(templates)), make([]pflag.Flag, len(templates)+len(shortFlags))
	add := func(name string, t *flagTemplate, value *settingFlag, hidden bool) {
		f := &room[0]
		room = room[1:]
		f.Name, f.Usage, f.Value, f.DefValue, f.Hidden = name, t.help, value, t.text, hidden
		if t.isBool {
			f.NoOptDefVal = "true"
		}
		flags.AddFlag(f)
	}
	for i := range templates {
		t, value := &templates[i], &values[i]
		*value = settingFlag{t.key, t.text}
		hidden := len(shown) > 0 && !slices.Contains(shown, t.key)
		if short := shortFlags[t.key]; short != "" && flags.Lookup(short) == nil {
			add(short, t, value, hidden)
			hidden = len(shown) > 0
		}
		add(t.key, t, value, hidden)
	}
	flags.SortFlags = false
}

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
	value := f.Value
	if o, ok := value.(*once); ok {
		value = o.Value
	}
	if v, ok := value.(*settingFlag); ok {
		return v.key
	}
	return ""
}
