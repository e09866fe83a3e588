package cmd

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// TestMistakes loads every file of testdata/config. The comments of a file list exactly the mistakes that Load must
// report.
func TestMistakes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range files {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(data)) {
				if text, ok := strings.CutPrefix(line, "# want "); ok {
					want = append(want, name+strings.TrimSuffix(text, "\n"))
				}
			}
			if len(want) == 0 {
				t.Fatal("the file lists no mistakes")
			}
			_, err = Load(LoadOptions{File: name, Dir: filepath.Dir(path)})
			var mistakes Mistakes
			if !errors.As(err, &mistakes) {
				t.Fatalf("Load: %v, want mistakes", err)
			}
			if got := strings.Split(mistakes.Error(), "\n"); !slices.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestConfigYAML compares config.yaml at the root of the repository with the defaults.
func TestConfigYAML(t *testing.T) {
	t.Parallel()
	c, err := Load(LoadOptions{File: "config.yaml", Dir: ".."})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	defaults := Defaults().settings()
	for i, got := range c.settings() {
		want := defaults[i]
		if got.key == "data" {
			*want.value.(*string) = filepath.Join("..", "data") // relative to the file
		}
		if !reflect.DeepEqual(got.get(), want.get()) {
			t.Errorf("%s: the file has %v, the default is %v", got.key, got, want)
		}
		line, err := strconv.Atoi(strings.TrimPrefix(c.Origin(got.key), "config.yaml:"))
		if err != nil {
			t.Errorf("%s is missing", got.key)
			continue
		}
		_, comment, ok := strings.Cut(lines[line-1], " # ")
		if !ok || len(strings.TrimSpace(comment)) < 5 {
			t.Errorf("%s has no comment", got.key)
		}
		if starred := strings.HasPrefix(comment, "* "); starred != got.live {
			t.Errorf("%s: marked as reloadable: %t, is reloadable: %t", got.key, starred, got.live)
		}
	}
}

// TestSettingsCoverConfig checks that every field of Config has a setting.
func TestSettingsCoverConfig(t *testing.T) {
	t.Parallel()
	c := Defaults()
	reached := map[any]bool{}
	for _, s := range c.settings() {
		if s.help == "" {
			t.Errorf("%s has no help", s.key)
		}
		reached[reflect.ValueOf(s.value).Pointer()] = true
	}
	var walk func(v reflect.Value, name string)
	walk = func(v reflect.Value, name string) {
		for i := range v.NumField() {
			field, at := v.Field(i), name+"."+v.Type().Field(i).Name
			switch {
			case at == ".File" || !v.Type().Field(i).IsExported():
			case field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[Rate]():
				walk(field, at)
			case !reached[field.Addr().Pointer()]:
				t.Errorf("no setting for %s", at)
			}
		}
	}
	walk(reflect.ValueOf(c).Elem(), "")
}

// TestDefaultsAreValid checks that the defaults pass their own checks, and that their text parses to the same value.
func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	for _, s := range Defaults().settings() {
		if err := s.check(); err != nil {
			t.Errorf("%s: %v", s.key, err)
		}
		parsed, _ := newLoader(LoadOptions{}).setting(s.key)
		if err := parsed.setText(s.String()); err != nil || !reflect.DeepEqual(parsed.get(), s.get()) {
			t.Errorf("%s: %q parses to %v, %v", s.key, s, parsed, err)
		}
	}
	if found := Defaults().conflicts(); len(found) > 0 {
		t.Errorf("conflicts: %v", found)
	}
}

func writeConfig(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func parseFlags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	flags := pflag.NewFlagSet("imctl", pflag.ContinueOnError)
	addSettingFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

func TestLayers(t *testing.T) {
	t.Parallel()
	dir := writeConfig(t, `
listen: 127.0.0.1:1
ops: {listen: "127.0.0.1:2", pprof: true}
log: {level: warn}
limits: {dialogues: 7/s, picture: 2048}
nats: {log: {max_age: 1h}}
http: {origins: ["https://file.example.org"]}
`)
	c, err := Load(LoadOptions{
		Dir: dir,
		Environ: []string{
			"HOME=/", "IMCTL_ACTIVE_HELP=0",
			"IMCTL_OPS_LISTEN=127.0.0.1:22", "IMCTL_LOG_LEVEL=error", "IMCTL_NATS_LOG_MAX_AGE=2h",
			"IMCTL_NATS_LISTEN=", "IMCTL_HTTP_ORIGINS=https://a.example.org, https://b.example.org",
			"IMCTL_LIMITS_LOGINS=0",
		},
		Flags: parseFlags(t, "--log.level", "debug", "--ops.pprof=false", "--nats.sync=10s"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Data = filepath.Join(dir, "data")
	want.Listen = "127.0.0.1:1"
	want.Ops = OpsConfig{Listen: "127.0.0.1:22"}
	want.Log.Level = "debug"
	want.Limits.Dialogues = Rate{7, time.Second}
	want.Limits.Logins = Rate{}
	want.Limits.Picture = 2 * KiB
	want.NATS.Log.MaxAge = 2 * time.Hour
	want.NATS.Listen = ""
	want.NATS.Sync = Sync(10 * time.Second)
	want.HTTP.Origins = []string{"https://a.example.org", "https://b.example.org"}
	for i, s := range c.settings() {
		if w := want.settings()[i]; !reflect.DeepEqual(s.get(), w.get()) {
			t.Errorf("%s is %v, want %v", s.key, s, w)
		}
	}
	if c.File != "config.yaml" {
		t.Errorf("File is %q", c.File)
	}
	for key, want := range map[string]string{
		"listen": "config.yaml:2", "ops.listen": "IMCTL_OPS_LISTEN", "log.level": "--log.level",
		"tokens.ttl": "default", "limits.dialogues": "config.yaml:5",
	} {
		if got := c.Origin(key); got != want {
			t.Errorf("%s comes from %s, want %s", key, got, want)
		}
	}
}

func TestMistakesOfAllSources(t *testing.T) {
	t.Parallel()
	_, err := Load(LoadOptions{
		Dir:     writeConfig(t, "listen: here\nlog: {level: info, levle: x}\n"),
		Environ: []string{"IMCTL_DTAA=x", "IMCTL_SESSIONS_BUFFER=0", "IMCTL_NATS_URL=nats://u:hunter2@"},
		Flags:   parseFlags(t, "--tokens.ttl", "1", "--nats.cluster.name", "a b"),
	})
	want := `config.yaml:1: listen: must be host:port, such as 127.0.0.1:8080
config.yaml:2: log.levle: unknown key: did you mean log.level?
IMCTL_DTAA: unknown variable: did you mean IMCTL_DATA?
IMCTL_NATS_URL: nats.url: must be a URL, such as nats://127.0.0.1:4222
IMCTL_SESSIONS_BUFFER: sessions.buffer: must be from 1 to 65536
--tokens.ttl: tokens.ttl: must be a time with its unit, such as 10s, 5m, 168h or 30d
--nats.cluster.name: nats.cluster.name: must be one word of at most 32 letters, digits, - and _`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestFileForms(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"byte order mark": "\ufeffops: {listen: 127.0.0.1:1}\n",
		"directive":       "%YAML 1.2\n---\nops: {listen: 127.0.0.1:1}\n",
		"document end":    "---\nops:\n  listen: 127.0.0.1:1\n...\n",
		"CRLF":            "ops:\r\n  listen: 127.0.0.1:1\r\n",
		"folded text":     "ops:\n  listen: >-\n    127.0.0.1:1\n",
		"JSON":            `{"ops": {"listen": "127.0.0.1:1"}}`,
		"alias":           "data: &address 127.0.0.1:1\nops: {listen: *address}\n",
		"section alias":   "nats: {log: {}, cluster: &empty {}}\nlog: *empty\nops: &ops {listen: 127.0.0.1:1}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(LoadOptions{Dir: writeConfig(t, text)})
			if err != nil || c.Ops.Listen != "127.0.0.1:1" {
				t.Errorf("got %+v, %v", c, err)
			}
		})
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	etc := filepath.Join(root, "etc")
	if err := os.Mkdir(etc, 0o700); err != nil {
		t.Fatal(err)
	}
	text := "tls: {cert: tls/cert.pem, key: tls/key.pem}\nnats: {context: ./nats.json}\n"
	if err := os.WriteFile(filepath.Join(etc, "im.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(LoadOptions{
		File: filepath.Join("etc", "im.yaml"), Dir: root,
		Environ: []string{"IMCTL_TLS_KEY=other/key.pem"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, paths := range map[string][2]string{
		"of the file":        {c.TLS.Cert, filepath.Join(etc, "tls", "cert.pem")},
		"of a context":       {c.NATS.Context, filepath.Join(etc, "nats.json")},
		"of the default":     {c.Data, filepath.Join(etc, "data")},
		"of the environment": {c.TLS.Key, filepath.Join(root, "other", "key.pem")},
	} {
		if paths[0] != paths[1] {
			t.Errorf("path %s is %s, want %s", what, paths[0], paths[1])
		}
	}
	c, err = Load(LoadOptions{Dir: root, Flags: parseFlags(t, "--data", "d", "--context", "production")})
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(root, "d"); c.Data != want || c.NATS.Context != "production" {
		t.Errorf("data is %s, want %s; context is %s", c.Data, want, c.NATS.Context)
	}
}

func TestNamedServerOverridesAnother(t *testing.T) {
	t.Parallel()
	dir := writeConfig(t, "nats: {url: 'nats://file:4222', creds: file.creds}\n")
	tests := []struct {
		name                string
		environ, flags      []string
		url, context, creds string
	}{
		{name: "file", url: "nats://file:4222", creds: "file.creds"},
		{name: "url over url", flags: []string{"--nats", "nats://flag:4222"}, url: "nats://flag:4222", creds: "file.creds"},
		{name: "context over url", flags: []string{"--context", "flag"}, context: "flag"},
		{name: "url over context", environ: []string{"IMCTL_NATS_CONTEXT=env"}, flags: []string{"--nats", "nats://flag:4222"}, url: "nats://flag:4222"},
		{name: "empty context", flags: []string{"--context", ""}, url: "nats://file:4222", creds: "file.creds"},
		{name: "last of two names", flags: []string{"--nats", "nats://a:1", "--nats.url", "nats://b:1"}, url: "nats://b:1", creds: "file.creds"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(LoadOptions{Dir: dir, Environ: test.environ, Flags: parseFlags(t, test.flags...)})
			if err != nil {
				t.Fatal(err)
			}
			if test.creds != "" {
				test.creds = filepath.Join(dir, test.creds)
			}
			if c.NATS.URL != test.url || c.NATS.Context != test.context || c.NATS.Creds != test.creds {
				t.Errorf("url %q, context %q, creds %q", c.NATS.URL, c.NATS.Context, c.NATS.Creds)
			}
		})
	}
	_, err := Load(LoadOptions{Dir: dir, Flags: parseFlags(t, "--nats", "nats://a:1", "--context", "b")})
	if err == nil || !strings.Contains(err.Error(), "--context: nats.context: cannot be combined with nats.url") {
		t.Errorf("two servers in one source: %v", err)
	}
}

func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"missing.yaml", "."} {
		_, err := Load(LoadOptions{File: name, Dir: dir})
		var mistakes Mistakes
		if !errors.As(err, &mistakes) || len(mistakes) != 1 || mistakes[0].Where != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, make([]byte, maxConfigFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(LoadOptions{File: large}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a large file: %v", err)
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	now, next := Defaults(), Defaults()
	next.Log.Level = "debug"
	next.Limits.Dialogues = Rate{}
	if keys := now.Restart(next); len(keys) > 0 {
		t.Errorf("restart needed for %v", keys)
	}
	next.Listen = "127.0.0.1:1"
	next.NATS.Cluster.Secret = "other"
	now.NATS.Cluster.Secret = "one"
	if keys := now.Restart(next); !slices.Equal(keys, []string{"listen", "nats.cluster.secret"}) {
		t.Errorf("restart needed for %v", keys)
	}
}

func TestEnvNamesAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, s := range Defaults().settings() {
		name := EnvName(s.key)
		if other, ok := seen[name]; ok {
			t.Errorf("%s is %s and %s", name, s.key, other)
		}
		seen[name] = s.key
	}
}

// FuzzConfigFile checks that no text crashes the parser, and that every accepted value parses again from its own text.
func FuzzConfigFile(f *testing.F) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(files, "../config.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("log: &a {level: info}\nops: *a\n"))
	f.Add([]byte("a: &a [*a]\nlisten: *a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l := newLoader(LoadOptions{})
		l.config.File = "config.yaml"
		l.layer("", func() { l.parseFile(text) })
		for key := range l.set {
			s, ok := l.setting(key)
			if !ok {
				t.Fatalf("accepted the unknown key %s", key)
			}
			parsed, _ := newLoader(LoadOptions{}).setting(key)
			if err := parsed.setText(s.String()); err != nil && !s.secret() {
				t.Errorf("%s: accepted a value, but not its text %q: %v", key, s, err)
			}
		}
		for _, m := range l.mistakes {
			if !strings.HasPrefix(m.Where, "config.yaml:") || m.Text == "" || strings.Contains(m.String(), "\n") {
				t.Errorf("mistake %q", m)
			}
		}
	})
}
