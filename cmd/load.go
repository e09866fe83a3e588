package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

const (
	defaultConfigFile = "config.yaml"
	envPrefix         = "IMCTL_"
)

// LoadOptions says where the configuration comes from.
type LoadOptions struct {
	// File is the file to read, which must be there. "" reads config.yaml where there is one.
	File string
	// Dir is the working directory, "" for the process's own.
	Dir string
	// Environ is the environment in the form of os.Environ.
	Environ []string
	// Flags may hold flags that addSettingFlags made. May be nil.
	Flags *pflag.FlagSet
	// Before is the current configuration at a reload, nil at the start. If it was read from a file, the file must still
	// exist and must not have become empty, since the defaults would replace its settings.
	Before *Config
}

// Load reads the configuration: the defaults, over them the file, over it the
// environment, over it the flags. The error is Mistakes when the settings are at
// fault, and then holds all of them.
//
// Relative paths in the file are relative to the file, and so are the defaults, as
// if the file said them; those of the environment and the flags are relative to Dir.
func Load(o LoadOptions) (*Config, error) {
	l := &loader{options: o, layers: koanf.New("."), origins: map[string]string{}}
	for _, s := range Defaults().settings() {
		l.keys = append(l.keys, s.key)
	}
	file, err := l.openFile()
	if err != nil {
		return nil, err
	}
	for _, load := range []func(*configFile) error{l.loadDefaults, l.loadFile, l.loadEnviron, l.loadFlags} {
		if err := load(file); err != nil {
			return nil, err
		}
	}
	c := l.config()
	c.File, c.blank = file.name, file.blank
	if len(l.mistakes) == 0 {
		for _, conflict := range c.conflicts() {
			l.mistakes = append(l.mistakes, Mistake{Where: c.Origin(conflict.key), Key: conflict.key, Text: conflict.text})
		}
	}
	if len(l.mistakes) > 0 {
		return nil, l.mistakes
	}
	return c, nil
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
		return nil, usageErrorf("--config wants a file")
	}
	return Load(LoadOptions{File: file, Dir: env.Dir, Environ: env.Environ, Flags: flags, Before: before})
}

// Origin returns where a setting's value came from, "default" where nobody set it.
func (c *Config) Origin(key string) string {
	if where, ok := c.origins[key]; ok {
		return where
	}
	return "default"
}

// Restart returns the keys that differ in next and only take effect at the next start.
func (c *Config) Restart(next *Config) []string {
	var keys []string
	now, then := c.settings(), next.settings()
	for i, s := range now {
		if !s.live && fmt.Sprint(deref(s)) != fmt.Sprint(deref(then[i])) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// deref returns the value for comparing, secrets included.
func deref(s setting) any {
	if secret, ok := s.value.(*Secret); ok {
		return string(*secret)
	}
	return s.get()
}

// loader gathers the layers. Values go into koanf parsed and checked, so what comes out of it is right whatever layer it is from.
type loader struct {
	options  LoadOptions
	keys     []string
	layers   *koanf.Koanf
	origins  map[string]string
	mistakes Mistakes
}

// openFile returns the file's values; those of a file that does not exist, and needn't, are none.
func (l *loader) openFile() (*configFile, error) {
	name := l.options.File
	if name == "" {
		name = defaultConfigFile
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.options.Dir, path)
	}
	file, err := readConfigFile(path, name, l.keys)
	var pathError *fs.PathError
	before := l.options.Before
	wasRead := before != nil && before.File != ""
	switch {
	case errors.Is(err, fs.ErrNotExist) && l.options.File == "" && !wasRead && !isThere(path):
		return &configFile{}, nil
	case errors.As(err, &pathError):
		// The error without its path, which may differ from name.
		return nil, Mistakes{{Where: name, Text: pathError.Err.Error()}}
	case err != nil:
		return nil, Mistakes{{Where: name, Text: err.Error()}}
	case file.blank && wasRead && !before.blank:
		return nil, Mistakes{{Where: name, Text: "has become empty; to reload the defaults, write a comment into it"}}
	}
	return file, nil
}

// isThere reports whether path exists. A dangling symbolic link exists.
func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// fileDir is what paths in the file are relative to.
func (l *loader) fileDir(file *configFile) string {
	dir := filepath.Dir(file.name)
	if filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(l.options.Dir, dir)
}

func (l *loader) loadDefaults(file *configFile) error {
	values := map[string]any{}
	for _, s := range Defaults().settings() {
		l.resolve(s, l.fileDir(file))
		values[s.key] = s.get()
	}
	return l.layers.Load(confmap.Provider(values, "."), nil)
}

func (l *loader) loadFile(file *configFile) error {
	l.mistakes = file.mistakes
	values := map[string]any{}
	for _, key := range l.keys {
		v, ok := file.values[key]
		if !ok {
			continue
		}
		before := len(l.mistakes)
		if _, value := l.parse(key, file.where(v.line), l.fileDir(file), v.raw); len(l.mistakes) == before {
			values[key] = value
		} else {
			l.mistakes[before].line = v.line
		}
	}
	slices.SortStableFunc(l.mistakes, func(a, b Mistake) int { return a.line - b.line })
	return l.layers.Load(confmap.Provider(values, "."), nil, l.merging())
}

// notSettings are variables of the prefix that the completion of shells reads (see cobra.ActiveHelp).
var notSettings = []string{"IMCTL_ACTIVE_HELP", "IMCTL_COMPLETION_DESCRIPTIONS"}

func (l *loader) loadEnviron(*configFile) error {
	// Names of settings have underscores of their own, so a variable is looked up, never taken apart.
	names := make(map[string]string, len(l.keys))
	known := make([]string, 0, len(l.keys))
	for _, key := range l.keys {
		name := EnvName(key)
		names[name] = key
		known = append(known, name)
	}
	provider := env.Provider(".", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return slices.Sorted(slices.Values(l.options.Environ)) },
		TransformFunc: func(name, value string) (string, any) {
			key, ok := names[name]
			if !ok {
				if !slices.Contains(notSettings, name) {
					l.mistakes = append(l.mistakes, Mistake{Where: name, Text: unknown("variable", name, known)})
				}
				return "", nil
			}
			return l.parse(key, name, l.options.Dir, given(value))
		},
	})
	return l.layers.Load(provider, nil, l.merging())
}

// EnvName returns the name of the environment variable of a key: nats.log.max_age is IMCTL_NATS_LOG_MAX_AGE.
func EnvName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func (l *loader) loadFlags(*configFile) error {
	if l.options.Flags == nil {
		return nil
	}
	provider := posflag.ProviderWithFlag(l.options.Flags, ".", nil, func(f *pflag.Flag) (string, any) {
		key := settingOfFlag(f)
		if key == "" || !f.Changed {
			return "", nil
		}
		return l.parse(key, "--"+f.Name, l.options.Dir, given(f.Value.String()))
	})
	return l.layers.Load(provider, nil, l.merging())
}

// parse returns the key with its checked value, and remembers where it came from. The key is "" where the value is a mistake.
func (l *loader) parse(key, where, dir string, raw any) (string, any) {
	s, _ := Defaults().setting(key)
	err := s.set(raw)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		l.mistakes = append(l.mistakes, Mistake{Where: where, Key: key, Text: err.Error()})
		return "", nil
	}
	l.resolve(s, dir)
	l.origins[key] = where
	return key, s.get()
}

// resolve makes a relative path one that is relative to dir.
func (l *loader) resolve(s setting, dir string) {
	field, ok := s.value.(*string)
	// A context is a path where it looks like one; else it is a name that the nats tool knows.
	isPath := s.path || s.key == "nats.context" && isContextFile(*field)
	if !ok || !isPath || *field == "" || filepath.IsAbs(*field) {
		return
	}
	*field = filepath.Join(dir, *field)
}

// isContextFile reports whether a NATS context is named by its file.
func isContextFile(name string) bool {
	return strings.ContainsAny(name, `/\`) || filepath.Ext(name) == ".json"
}

// merging puts a layer over the others. A layer that names a NATS server takes the place of
// another way to name one below it: a --context must win over a file's nats.url, not clash with it.
func (l *loader) merging() koanf.Option {
	return koanf.WithMergeFunc(func(src, dest map[string]any) error {
		replaced := map[string][]string{
			"nats.context": {"nats.url", "nats.creds"},
			"nats.url":     {"nats.context"},
		}
		for key, others := range replaced {
			if text, _ := maps.Search(src, strings.Split(key, ".")).(string); text == "" {
				continue
			}
			for _, other := range others {
				if maps.Search(src, strings.Split(other, ".")) == nil {
					maps.Merge(maps.Unflatten(map[string]any{other: ""}, "."), dest)
					delete(l.origins, other)
				}
			}
		}
		maps.Merge(src, dest)
		return nil
	})
}

// config returns what the layers say together.
func (l *loader) config() *Config {
	c := Defaults()
	for _, s := range c.settings() {
		if value := l.layers.Get(s.key); value != nil {
			s.put(value)
		}
	}
	c.origins = l.origins
	return c
}

// checkFiles finds files that the configuration names and that cannot be read.
func (c *Config) checkFiles() Mistakes {
	var mistakes Mistakes
	for _, s := range c.settings() {
		path, ok := s.value.(*string)
		if !ok || !s.path || *path == "" || s.key == "data" {
			continue
		}
		f, err := os.Open(*path)
		if err == nil {
			f.Close()
			continue
		}
		var pathError *fs.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		mistakes = append(mistakes, Mistake{Where: c.Origin(s.key), Key: s.key, Text: *path + ": " + err.Error()})
	}
	return mistakes
}
