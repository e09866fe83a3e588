package cmd

import (
	"cmp"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"imctl/embedded"
)

func thisMachine() machine {
	return machine{fileSystem: fileSystem, owner: fileOwner, disk: embedded.DiskOf, clock: clockState, limits: limitsOfProcess,
		holds: processHolds, holder: portHolder}
}

// fileSystems are the names of file systems by their magic numbers (statfs(2)).
var fileSystems = map[int64]string{
	unix.NFS_SUPER_MAGIC: "nfs", unix.SMB_SUPER_MAGIC: "smb", unix.SMB2_SUPER_MAGIC: "smb2", unix.CIFS_SUPER_MAGIC: "cifs",
	unix.V9FS_MAGIC: "9p", unix.CEPH_SUPER_MAGIC: "ceph", unix.AFS_SUPER_MAGIC: "afs", unix.FUSE_SUPER_MAGIC: "fuse",
	unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs",
	unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
}

func fileSystem(path string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "", err
	}
	return fileSystems[int64(uint32(st.Type))], nil
}

func fileOwner(path string) (string, bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	id := strconv.FormatUint(uint64(st.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username, true
	}
	return id, true
}

// clockState asks the kernel, which NTP clients tell.
func clockState() (synchronised, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, err == nil
}

func limitsOfProcess(pid int) (l systemLimits) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return l
	}
	p, err := fs.Proc(cmp.Or(pid, os.Getpid()))
	if err != nil {
		return l
	}
	if limits, err := p.Limits(); err == nil {
		l.descriptors = limits.OpenFiles
	}
	if groups, err := p.Cgroups(); err == nil {
		for _, g := range groups {
			if g.HierarchyID == 0 {
				l.memory = groupMemory(g.Path)
			}
		}
	}
	l.backlog, _ = readNumber("/proc/sys/net/core/somaxconn")
	return l
}

// groupMemory returns the smallest limit of a control group and those above it, 0 for none.
func groupMemory(path string) (limit uint64) {
	const root = "/sys/fs/cgroup"
	for {
		if n, ok := readNumber(filepath.Join(root, path, "memory.max")); ok && (limit == 0 || uint64(n) < limit) {
			limit = uint64(n)
		}
		if path == "/" || path == "." || path == "" {
			return limit
		}
		path = filepath.Dir(path)
	}
}

// readNumber returns the number in a file. It returns false if there is none: "max" means no limit.
func readNumber(file string) (int, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}

func processHolds(pid int, file string) bool {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return false
	}
	p, err := fs.Proc(pid)
	if err != nil {
		return false
	}
	if file, err = filepath.EvalSymlinks(file); err != nil {
		return false
	}
	files, err := p.FileDescriptorTargets()
	return err == nil && slices.Contains(files, absolutePath(file))
}

func absolutePath(file string) string {
	if abs, err := filepath.Abs(file); err == nil {
		return abs
	}
	return file
}

// listening is the state of a socket that listens, in /proc/net/tcp.
const listening = 10

func portHolder(port int) (pid int, name string) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, ""
	}
	sockets := make(map[string]bool)
	for try := 0; try < 3 && len(sockets) == 0; try++ { // the kernel leaves entries out while others change
		listeners(fs, port, sockets)
	}
	if len(sockets) == 0 {
		return 0, ""
	}
	all, err := fs.AllProcs()
	if err != nil {
		return 0, ""
	}
	for _, p := range all {
		files, err := p.FileDescriptorTargets()
		if err != nil {
			continue // another user's
		}
		for _, f := range files {
			if sockets[f] {
				name, _ = p.Comm()
				return p.PID, name
			}
		}
	}
	return 0, ""
}

// listeners adds the names of the sockets that listen on a port, as links to descriptors have them.
func listeners(fs procfs.FS, port int, sockets map[string]bool) {
	//lint:ignore SA1019 these are slow on a machine with many connections, which does not matter here
	for _, read := range []func() (procfs.NetTCP, error){fs.NetTCP, fs.NetTCP6} {
		all, err := read()
		if err != nil {
			continue
		}
		for _, s := range all {
			if s.St == listening && s.LocalPort == uint64(port) {
				sockets["socket:["+strconv.FormatUint(s.Inode, 10)+"]"] = true
			}
		}
	}
}
