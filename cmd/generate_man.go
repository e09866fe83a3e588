package cmd

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newGenerateMan(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Generate manual pages",
		Long: `Generate the manual pages of all commands (section 1) and of config.yaml (imctl-config, section 5) in DIR.
SOURCE_DATE_EPOCH, seconds since 1970, is the date on the pages.`,
		Example: "  imctl generate man /usr/share/man",
		Args:    exactArgs("DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			date, err := sourceDate(env)
			if err != nil {
				return err
			}
			return generateMan(c.Root(), env.path(args[0]), date)
		},
	}
}

// sourceDate returns the time in SOURCE_DATE_EPOCH, or else the current time.
func sourceDate(env *Env) (time.Time, error) {
	for _, entry := range env.Environ {
		text, ok := strings.CutPrefix(entry, "SOURCE_DATE_EPOCH=")
		if !ok {
			continue
		}
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return time.Time{}, usageErrorf("SOURCE_DATE_EPOCH %q is not a number of seconds", text)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	return time.Now().UTC(), nil
}

// generateMan writes man1 and man5 below dir.
func generateMan(root *cobra.Command, dir string, date time.Time) error {
	const source, manual = "imctl", "imctl manual"
	man1, man5 := filepath.Join(dir, "man1"), filepath.Join(dir, "man5")
	for _, d := range []string{man1, man5} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	disableAutoGenTag(root)
	header := &doc.GenManHeader{Section: "1", Date: &date, Source: source, Manual: manual}
	if err := doc.GenManTree(root, header, man1); err != nil {
		return err
	}
	head := fmt.Sprintf("%% %q %q %q %q %q\n", "IMCTL-CONFIG", "5", date.Format("Jan 2006"), source, manual)
	return os.WriteFile(filepath.Join(man5, "imctl-config.5"), md2man.Render([]byte(head+configPage())), fs.FileMode(0o644))
}

// disableAutoGenTag removes the day of generation from the pages below c, which differs between builds.
func disableAutoGenTag(c *cobra.Command) {
	c.DisableAutoGenTag = true
	for _, sub := range c.Commands() {
		disableAutoGenTag(sub)
	}
}

// configPage returns the manual page of config.yaml in Markdown.
func configPage() string {
	var b strings.Builder
	b.WriteString(`# NAME
imctl-config - configuration file of imctl

# SYNOPSIS
**config.yaml**, **/etc/imctl/config.yaml**

# DESCRIPTION
imctl reads its settings from a YAML file. A setting that is left out keeps its default. Each setting is also an
environment variable (**IMCTL_NATS_URL** for **nats.url**) and a flag (**--nats.url**). Flags override the environment,
and the environment overrides the file. Paths are relative to the file. Sizes have units (64KiB, 1GiB), and so do
durations (10s, 5m, 168h, 30d). Rates are events per second, minute or hour (50/s, 60/m, 20/h).

The names below are paths in the file: **nats.url** is the key **url** of the map **nats**. **imctl check** checks a
file. A running server reloads the settings marked *reload* on SIGHUP; the others take effect at the next start.

# SETTINGS
`)
	for _, s := range Defaults().settings() {
		value := s.String()
		if value == "" {
			value = "empty"
		}
		b.WriteString("**" + s.key + "**\n: " + escapeMarkdown(s.help) + ". Default: " + escapeMarkdown(value))
		if s.live {
			b.WriteString(". *reload*")
		}
		b.WriteString("\n\n")
	}
	b.WriteString("# SEE ALSO\n**imctl(1)**, **imctl-serve(1)**, **imctl-check(1)**\n")
	return b.String()
}

// escapeMarkdown escapes what Markdown would format.
func escapeMarkdown(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "<", `\<`, "[", `\[`).Replace(s)
}
