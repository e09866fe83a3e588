package cmd

import (
	"os/exec"

	"imctl/embedded"
)

// becomeUser does nothing: no directory has another owner here, see embedded.OtherOwner.
func becomeUser(*exec.Cmd, embedded.Identity) {}
