package cmd

import (
	"github.com/spf13/cobra"
)

func newNATS(env *Env) *cobra.Command {
	group := newGroup("nats", "Attach to NATS, and see what is there",
		newNATSConfig(env),
		newNATSInfo(env),
	)
	return group
}
