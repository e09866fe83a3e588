package cmd

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version, revision and date describe a release. The release build sets them with -ldflags -X; other builds take them
// from the build information of Go.
var version, revision, date string

// buildInfo describes the build of the binary.
type buildInfo struct {
	Version    string `json:"version"`
	Revision   string `json:"revision"` // revision of the source, "" if built outside a repository
	Time       string `json:"time"`     // time of the revision
	Modified   bool   `json:"modified"` // the source had uncommitted changes
	NATSServer string `json:"nats_server"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

func readBuildInfo() buildInfo {
	b := buildInfo{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/nats-io/nats-server/v2" {
			b.NATSServer = dep.Version
		}
	}
	if version != "" { // a release: the build information does not have its tag
		b.Version, b.Revision, b.Time = version, revision, date
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func newVersion(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     "version",
		Short:   "Show the version and build of imctl",
		Long:    `Show the version of imctl, the revision and time of its source, and the versions that it was built with.`,
		Example: "  imctl version -o json",
		Args:    maxArgs(0),
		RunE: func(*cobra.Command, []string) error {
			b := readBuildInfo()
			if output.json() {
				return writeJSON(env.Out, b)
			}
			rows := [][]string{
				{"revision", orDash(b.Revision)},
				{"time", orDash(b.Time)},
				{"modified", yesNo(b.Modified)},
				{"nats-server", orDash(b.NATSServer)},
				{"go", b.Go},
				{"platform", b.Platform},
			}
			if _, err := fmt.Fprintln(env.Out, "imctl", b.Version); err != nil {
				return err
			}
			return writeFields(env.Out, rows)
		},
	}
	output.addTo(c.Flags())
	return c
}
