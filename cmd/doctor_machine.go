package cmd

import (
	"crypto/x509"

	"imctl/embedded"
)

// machine is what doctor asks the system. Tests replace parts of it.
type machine struct {
	// fileSystem returns the kind of a path's file system, such as ext4 or nfs, "" if it is an unknown one.
	fileSystem func(path string) (string, error)
	// owner returns the user that a file belongs to. It returns false on a system without owners.
	owner func(path string) (string, bool)
	disk  func(path string) (embedded.DiskState, error)
	// clock reports whether the system's clock is synchronised. It returns false for known if the system does not tell.
	clock func() (synchronised, known bool)
	// limits returns the limits of a process, those of this one for 0.
	limits func(pid int) systemLimits
	// holds reports whether a process has a file open.
	holds func(pid int, file string) bool
	// holder returns the process that listens on a TCP port, 0 if it is unknown, and its name.
	holder func(port int) (pid int, name string)
	// roots are the authorities that clients trust, nil for those of the system.
	roots *x509.CertPool
}

// systemLimits are limits of the system on a process. 0 means no limit, or an unknown one.
type systemLimits struct {
	descriptors uint64
	memory      uint64 // bytes, of the control group
	backlog     int    // of connections that wait to be accepted
}
