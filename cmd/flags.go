package cmd

import (
	"strings"

	"github.com/spf13/pflag"
)

// settingAnnotation marks a flag as one of a setting, and holds its key.
const settingAnnotation = "imctl_setting"

// shortFlags are second names of flags.
var shortFlags = map[string]string{
	"nats.url":     "nats",
	"nats.creds":   "creds",
	"nats.context": "context",
}

// settingFlag keeps what was given. Load parses it, together with the other
// layers, so that all mistakes are told in the same words and at once.
type settingFlag struct{ text, kind string }

func (f *settingFlag) String() string     { return f.text }
func (f *settingFlag) Set(s string) error { f.text = s; return nil }
func (f *settingFlag) Type() string       { return f.kind }

// addSettingFlags adds a flag for every setting, --log.level for log.level, and their short names but for such as the
// command uses for something else.
// Help shows those of the keys in shown, or all where there is none.
func addSettingFlags(flags *pflag.FlagSet, shown ...string) {
	flags.String("config", "", "configuration `file` (default config.yaml, where there is one)")
	for _, s := range Defaults().settings() {
		value := &settingFlag{text: s.String(), kind: "value"}
		hide := len(shown) > 0
		for _, key := range shown {
			hide = hide && key != s.key
		}
		names := []string{s.key}
		if short := shortFlags[s.key]; short != "" && flags.Lookup(short) == nil {
			names = []string{short, s.key}
		}
		for i, name := range names {
			flag := flags.VarPF(value, name, "", s.help)
			flag.Annotations = map[string][]string{settingAnnotation: {s.key}}
			flag.Hidden = hide || i > 0 && len(shown) > 0
			if _, ok := s.value.(*bool); ok {
				flag.NoOptDefVal = "true"
			}
		}
	}
	flags.SortFlags = false
}

// settingOfFlag returns the key of the setting that a flag sets, "" where it sets none.
func settingOfFlag(f *pflag.Flag) string {
	return strings.Join(f.Annotations[settingAnnotation], "")
}
