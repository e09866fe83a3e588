package cmd

import (
	"fmt"
	"os"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// readProgramByPage makes the kernel read no more of the program's file than the page that is needed. Otherwise it reads
// around that page, on some disks 8 MiB, which drives other pages of the program out of a small cgroup.
func readProgramByPage() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	self, err := procfs.Self()
	if err != nil {
		return err
	}
	maps, err := self.ProcMaps()
	if err != nil {
		return err
	}
	for _, m := range maps {
		if m.Pathname != program {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.StartAddr, m.EndAddr-m.StartAddr, unix.MADV_RANDOM); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return nil
}
