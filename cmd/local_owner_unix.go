//go:build unix

package cmd

import (
	"os/exec"
	"syscall"

	"imctl/embedded"
)

// becomeUser makes the process start as a user, and in a session of its own, without a terminal: a signal of the
// terminal then reaches only the command, which ends the process.
func becomeUser(p *exec.Cmd, user embedded.Identity) {
	credential := &syscall.Credential{Uid: uint32(user.UID), Gid: uint32(user.GID)}
	for _, id := range user.Groups() {
		credential.Groups = append(credential.Groups, uint32(id))
	}
	p.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Setsid: true}
}
