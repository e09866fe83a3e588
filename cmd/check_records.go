package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"imctl/kv"
)

// recordsReport is the result of a check of the records.
type recordsReport struct {
	kv.Findings
	Removed bool `json:"removed"`
}

// checkRecords reads all records of the server and removes orphaned records. With dry it only reports them.
func checkRecords(c *cobra.Command, env *Env, output outputFormat, dry bool) error {
	return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
		store, err := kv.FindStore(ctx, nc, config.NATS.Prefix)
		if err != nil {
			return err
		}
		progress := startProgress(env)
		progress.update("reading all records")
		found, err := store.Sweep(ctx, dry)
		progress.stop()
		if err != nil {
			return err
		}
		var problem error
		if dry && found != (kv.Findings{}) {
			problem = &failure{code: exitFailed, err: fmt.Errorf("orphaned records: %s", formatFindings(found)),
				remedy: "remove them with imctl check --data"}
		}
		if output.json() {
			return errors.Join(writeJSON(env.Out, recordsReport{found, !dry}), problem)
		}
		rows := make([][]string, 0, 9)
		for _, f := range found.List() {
			rows = append(rows, []string{f.Name, fmt.Sprint(f.Count)})
		}
		return errors.Join(newTable(env.Out, "records", "found").write(rows...), problem)
	})
}

// formatFindings lists the counts that are not zero, such as "2 tokens, 1 names".
func formatFindings(found kv.Findings) (text string) {
	for _, f := range found.List() {
		if f.Count > 0 {
			if text != "" {
				text += ", "
			}
			text += fmt.Sprintf("%d %s", f.Count, f.Name)
		}
	}
	return text
}
