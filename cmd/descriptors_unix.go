//go:build unix

package cmd

import "golang.org/x/sys/unix"

// descriptors returns how many descriptors the system allows to the process. The Go runtime has raised the limit as
// far as it may.
func descriptors() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return fewestClients
	}
	return int(min(uint64(limit.Cur), maxClients))
}
