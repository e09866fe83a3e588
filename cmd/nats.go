package cmd

import (
	"github.com/spf13/cobra"
)

func newNATS(env *Env) *cobra.Command {
	group := newGroup("nats", "Configure and inspect NATS",
		newNATSConfig(env),
		newNATSInfo(env),
	)
	return group
}
