package cmd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

const envPrefix = "IMCTL_"

// configVariable is the variable that names the configuration file.
const configVariable = envPrefix + "CONFIG"

// notSettings are variables with the prefix that name the file, or that shell completion reads (see cobra.ActiveHelp).
var notSettings = []string{configVariable, "IMCTL_ACTIVE_HELP", "IMCTL_COMPLETION_DESCRIPTIONS"}

// LoadOptions are the sources of the configuration.
type LoadOptions struct {
	// File is the file to read. It must exist. "" reads the file that IMCTL_CONFIG names. Without that it reads config.yaml
	// in Dir if it exists, or else the file System.
	File string
	// System is the file that packages install, "" for none.
	System string
	// Dir is the working directory, "" for that of the process.
	Dir string
	// Environ is the environment in the form of os.Environ.
	Environ []string
	// Flags may hold flags that addSettingFlags made. May be nil.
	Flags *pflag.FlagSet
	// Before is the current configuration at a reload, nil at the start. If it was read from a file, the file must still
	// exist and must not have become empty, since the defaults would replace its settings.
	Before *Config
}

// Load reads the configuration: the defaults, overridden by the file, the environment and the flags, in this order.
// If settings are wrong, the error is Mistakes and lists all of them.
//
// Relative paths in the file and in the defaults are relative to the file, those in the environment and the flags to
// Dir.
func Load(options LoadOptions) (*Config, error) {
	l := newLoader(options)
	text, err := l.readFile()
	if err != nil {
		return nil, err
	}
	l.config.Data = relativeTo(l.fileDir(), l.config.Data)
	l.layer(l.fileDir(), func() { l.parseFile(text) })
	l.layer(options.Dir, l.readEnviron)
	l.layer(options.Dir, l.readFlags)
	if len(l.mistakes) == 0 {
		for _, c := range l.config.conflicts() {
			l.mistakes = append(l.mistakes, Mistake{Where: l.config.Origin(c.key), Key: c.key, Text: c.text})
		}
	}
	if len(l.mistakes) > 0 {
		return nil, l.mistakes
	}
	return l.config, nil
}

// loadConfig reads the configuration of a command whose flags addSettingFlags made.
func loadConfig(env *Env, flags *pflag.FlagSet) (*Config, error) {
	return reloadConfig(env, flags, nil)
}

// reloadConfig is loadConfig for a reload. before is the current configuration, nil for none.
func reloadConfig(env *Env, flags *pflag.FlagSet, before *Config) (*Config, error) {
	file, err := flags.GetString("config")
	if err != nil {
		return nil, err
	}
	if file == "" && flags.Changed("config") {
		return nil, usageErrorf("--config must name a file")
	}
	return Load(LoadOptions{File: file, System: env.SystemConfig, Dir: env.Dir, Environ: env.Environ, Flags: flags, Before: before})
}

// Origin returns the source of a setting's value, such as "config.yaml:12", or "default".
func (c *Config) Origin(key string) string {
	if where, ok := c.origins[key]; ok {
		return where
	}
	return "default"
}

// Restart returns the keys that differ in next and take effect only at the next start.
func (c *Config) Restart(next *Config) []string {
	var keys []string
	changed := next.settings()
	for i, s := range c.settings() {
		if !s.live && !reflect.DeepEqual(s.get(), changed[i].get()) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// loader applies one source after the other to a configuration that starts with the defaults.
type loader struct {
	options  LoadOptions
	config   *Config
	settings []setting // of config
	keys     []string  // of settings
	mistakes Mistakes

	dir string          // relative paths of the current layer are relative to it
	set map[string]bool // keys that the current layer has set
}

func newLoader(options LoadOptions) *loader {
	l := &loader{options: options, config: Defaults()}
	l.config.origins = map[string]string{}
	l.settings = l.config.settings()
	for _, s := range l.settings {
		l.keys = append(l.keys, s.key)
	}
	return l
}

// layer applies one source of settings. If it names a NATS server, the settings of earlier layers that name another
// server are dropped: --context overrides nats.url in the file instead of conflicting with it.
func (l *loader) layer(dir string, read func()) {
	l.dir, l.set = dir, map[string]bool{}
	read()
	if l.set["nats.context"] && l.config.NATS.Context != "" {
		l.drop("nats.url", &l.config.NATS.URL)
		l.drop("nats.creds", &l.config.NATS.Creds)
		l.drop("nats.domain", &l.config.NATS.Domain)
		l.drop("nats.tls.ca", &l.config.NATS.TLS.CA)
		l.drop("nats.tls.cert", &l.config.NATS.TLS.Cert)
		l.drop("nats.tls.key", &l.config.NATS.TLS.Key)
	}
	if l.set["nats.url"] && l.config.NATS.URL != "" {
		l.drop("nats.context", &l.config.NATS.Context)
	}
}

// drop empties a setting of an earlier layer.
func (l *loader) drop(key string, field *string) {
	if !l.set[key] {
		*field = ""
		delete(l.config.origins, key)
	}
}

// accept records that where has set s. err is the error of parsing the value.
func (l *loader) accept(s setting, where string, err error) {
	if err == nil {
		err = s.check()
	}
	if err != nil {
		l.mistake(where, s.key, err.Error())
		return
	}
	l.resolve(s)
	l.config.origins[s.key] = where
	l.set[s.key] = true
}

func (l *loader) mistake(where, key, text string) {
	l.mistakes = append(l.mistakes, Mistake{Where: where, Key: key, Text: text})
}

// setting returns the setting of a key.
func (l *loader) setting(key string) (setting, bool) {
	i := slices.Index(l.keys, key)
	if i < 0 {
		return setting{}, false
	}
	return l.settings[i], true
}

// resolve makes relative paths relative to the layer's directory.
func (l *loader) resolve(s setting) {
	if list, ok := s.value.(*[]string); ok && s.path {
		for i, path := range *list {
			(*list)[i] = relativeTo(l.dir, path)
		}
	}
	field, ok := s.value.(*string)
	isPath := s.path || s.key == "nats.context" && isContextFile(*field)
	if ok && isPath && *field != "" {
		*field = relativeTo(l.dir, *field)
	}
}

// isContextFile reports whether name is the file of a NATS context, and not the name that the nats tool has for it.
func isContextFile(name string) bool {
	return strings.ContainsAny(name, `/\`) || filepath.Ext(name) == ".json"
}

// relativeTo returns path unchanged if it is absolute, and in dir otherwise.
func relativeTo(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// EnvName returns the environment variable of a key: IMCTL_NATS_LOG_MAX_AGE for nats.log.max_age.
func EnvName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func (l *loader) readEnviron() {
	// Keys contain underscores, so a variable's name cannot be split into a key.
	names := make([]string, len(l.keys))
	for i, key := range l.keys {
		names[i] = EnvName(key)
	}
	for _, variable := range slices.Sorted(slices.Values(l.options.Environ)) {
		name, value, _ := strings.Cut(variable, "=")
		if i := slices.Index(names, name); i >= 0 {
			l.accept(l.settings[i], name, l.settings[i].setText(value))
		} else if strings.HasPrefix(name, envPrefix) && !slices.Contains(notSettings, name) && !ofKubernetes(name, value) {
			l.mistake(name, "", unknown("variable", name, names))
		}
	}
}

func (l *loader) readFlags() {
	if l.options.Flags == nil {
		return
	}
	l.options.Flags.VisitAll(func(f *pflag.Flag) {
		if s, ok := l.setting(settingOfFlag(f)); ok && f.Changed {
			l.accept(s, "--"+f.Name, s.setText(f.Value.String()))
		}
	})
}

// checkFiles finds files that the configuration names and that cannot be read.
func (c *Config) checkFiles() Mistakes {
	var mistakes Mistakes
	for _, s := range c.settings() {
		path, ok := s.value.(*string)
		if !ok || !s.path || *path == "" || s.key == "data" || s.key == "backup.dir" { // both are created
			continue
		}
		f, err := os.Open(*path)
		if err == nil {
			f.Close()
			continue
		}
		mistakes = append(mistakes, Mistake{Where: c.Origin(s.key), Key: s.key, Text: *path + ": " + withoutPath(err).Error()})
	}
	if len(mistakes) == 0 {
		mistakes = append(mistakes, c.authMistakes()...)
		for _, m := range c.NATS.TLS.mistakes() {
			mistakes = append(mistakes, Mistake{Where: c.Origin(m.key), Key: m.key, Text: m.text})
		}
	}
	return mistakes
}

// withoutPath returns an error of the file system without the path, for messages that name the file themselves.
func withoutPath(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
