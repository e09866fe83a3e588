package cmd

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"imctl/bridge/certs"
	"imctl/embedded"
)

// checkData checks owner, modes and file system of the data directory.
func (d *doctor) checkData() {
	data := d.config.Data
	info, err := os.Stat(data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.add(levelWarn, "data", "start the server, or name the directory of one with --data or --config", "%s does not exist", data)
		return
	case err != nil:
		d.add(levelFail, "data", "run imctl doctor as root", "%s", withoutSecrets(err))
		return
	case !info.IsDir():
		d.add(levelFail, "data", "set data to a directory", "%s is a file", data)
		return
	}
	// The remedies below would harm a directory of something else.
	if entries, err := os.ReadDir(data); err == nil && len(entries) > 0 && !embedded.IsDataDir(data) {
		d.add(levelFail, "data", "name the directory of the server with --data or --config", "%s has other files, and no server has run there", data)
		return
	}
	before := len(d.found)
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		d.add(levelFail, "data", "chmod 700 "+data, "%s has mode %04o: other users can read keys and messages", data, mode)
	}
	d.checkOwners(data)
	switch kind, err := d.machine.fileSystem(data); {
	case err != nil:
		d.add(levelWarn, "data", "", "the file system of %s is unknown: %v", data, err)
	case kind == "tmpfs" || kind == "ramfs":
		d.add(levelWarn, "data", "stop the server and move the directory to a disk", "%s is in memory (%s): a reboot loses it", data, kind)
	case isNetworkFileSystem(kind):
		d.add(levelWarn, "data", "stop the server and move the directory to a local disk", "%s is on a network file system (%s), on which locks and syncs may not hold", data, kind)
	}
	if len(d.found) == before {
		d.ok("data", "%s", data)
	}
}

var networkFileSystems = []string{"nfs", "smb", "smb2", "cifs", "9p", "ceph", "afs", "fuse"}

func isNetworkFileSystem(kind string) bool { return slices.Contains(networkFileSystems, kind) }

// checkOwners finds files of other users than the owner of the directory. The server could not read them.
func (d *doctor) checkOwners(data string) {
	owner, ok := d.machine.owner(data)
	if !ok {
		return
	}
	foreign, example := 0, ""
	err := filepath.WalkDir(data, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running server has removed it
		}
		if err != nil {
			return err
		}
		if other, ok := d.machine.owner(path); ok && other != owner {
			foreign, example = foreign+1, path
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrPermission):
		d.add(levelFail, "data", fmt.Sprintf("run it as that user: sudo -u %s imctl doctor", owner), "%s belongs to %s, and this user cannot read it", data, owner)
	case err != nil:
		d.add(levelFail, "data", "", "%s", withoutSecrets(err))
	case foreign > 0:
		d.add(levelFail, "data", fmt.Sprintf("chown -R %s %s", owner, data), "%s not belong to %s, such as %s", plural(foreign, "file")+does(foreign), owner, example)
	}
}

func does(n int) string {
	if n == 1 {
		return " does"
	}
	return " do"
}

func withoutSecrets(err error) string { return printable(oneLine(err)) }

// Free space below these parts of the disk is a warning.
const (
	fewBytesPercent = 10
	fewFilesPercent = 5
)

// checkDisk checks the free space and the inodes of the data directory.
func (d *doctor) checkDisk() {
	dir := d.config.Data
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Dir(dir) // it is made there
	}
	s, err := d.machine.disk(dir)
	if err != nil {
		d.add(levelWarn, "disk", "", "%s", withoutSecrets(err))
		return
	}
	remedy := "free space: du -xh " + dir + " | sort -h | tail"
	low := max(uint64(d.config.DataReserve)/4, uint64(MiB))
	switch percent := s.FreeBytes * 100 / max(s.TotalBytes, 1); {
	case s.FreeBytes < low:
		d.add(levelFail, "disk", remedy, "%s of %s free: the server is read-only", humanBytes(s.FreeBytes), humanBytes(s.TotalBytes))
	case percent < fewBytesPercent:
		d.add(levelWarn, "disk", remedy, "%s of %s free, %d %%", humanBytes(s.FreeBytes), humanBytes(s.TotalBytes), percent)
	case s.TotalFiles > 0 && s.FreeFiles*100/s.TotalFiles < fewFilesPercent:
		d.add(levelWarn, "disk", "remove small files: du -x --inodes "+dir+" | sort -n | tail", "%d of %d inodes free", s.FreeFiles, s.TotalFiles)
	default:
		d.ok("disk", "%s of %s free, %s in reserve", humanBytes(s.FreeBytes), humanBytes(s.TotalBytes), d.config.DataReserve)
	}
}

// expiresSoon is how long before its expiry a certificate is a warning. ACME and the server's own renew earlier.
const expiresSoon = 14 * day

// checkCertificates checks the certificates of the listeners.
func (d *doctor) checkCertificates() {
	t := d.config.TLS
	var others []string
	for _, l := range d.config.listeners() {
		if certs.Plain(t.Mode, l.address) {
			d.add(levelWarn, "tls", "set tls.mode: auto, unless a proxy on this network adds TLS", "%s: %s serves other machines without TLS", l.key, l.address)
		}
		if l.key != "listen" {
			others = append(others, l.address)
		}
	}
	front := bindAddress(d.config.Listen)
	if _, _, err := net.SplitHostPort(front); err != nil {
		front = "localhost:0" // a socket of this machine, without TLS of its own unless tls.mode says so
	}
	found, err := certs.Inspect(certs.Options{Mode: t.Mode, Cert: t.Cert, Key: t.Key, Domains: t.Domains, Email: t.Email, Directory: t.Directory,
		Dir: filepath.Join(d.config.Data, "tls"), Listen: front, Others: others})
	if err != nil {
		d.add(levelFail, "certificate", "correct the settings of tls", "%s", oneLine(err))
		return
	}
	for _, f := range found {
		d.checkCertificate(f)
	}
	if len(found) == 0 {
		d.ok("certificate", "no listener uses TLS")
	}
}

func (d *doctor) checkCertificate(f certs.Found) {
	const check = "certificate"
	renew := map[string]string{
		certs.ModeFiles:      "replace " + d.config.TLS.Cert + " and " + d.config.TLS.Key + ", then: systemctl reload imctl",
		certs.ModeACME:       "let port 443 of " + f.Domain + " reach this server; its log tells why the authority refuses: journalctl -u imctl",
		certs.ModeSelfSigned: "systemctl restart imctl",
	}[f.Mode]
	switch {
	case errors.Is(f.Err, fs.ErrNotExist) && f.Mode == certs.ModeSelfSigned:
		d.ok(check, "the first start makes a self-signed one")
		return
	case errors.Is(f.Err, fs.ErrNotExist) && d.server == nil:
		d.add(levelWarn, check, "start the server, which requests it", "%s has none yet", f.Domain)
		return
	case errors.Is(f.Err, fs.ErrNotExist) && f.Mode == certs.ModeACME:
		d.add(levelFail, check, "wait for some seconds after the first start, or "+renew, "%s has none yet", f.Domain)
		return
	case f.Err != nil:
		d.add(levelFail, check, renew, "%s", oneLine(f.Err))
		return
	}
	leaf := f.Chain[0]
	left := leaf.NotAfter.Sub(d.now)
	switch {
	case d.now.Before(leaf.NotBefore):
		d.add(levelFail, check, "timedatectl set-ntp true, or "+renew, "%s is not valid before %s", f.File, localTime(leaf.NotBefore))
		return
	case left <= 0:
		d.add(levelFail, check, renew, "%s has expired %s ago", f.File, humanAge(-left))
		return
	case left < expiresSoon:
		d.add(levelWarn, check, renew, "%s expires in %s", f.File, humanAge(left))
	}
	for _, domain := range d.config.TLS.Domains {
		if f.Mode != certs.ModeACME && leaf.VerifyHostname(domain) != nil {
			d.add(levelFail, check, renew, "%s is not for %s, but for %s", f.File, domain, strings.Join(leaf.DNSNames, ", "))
		}
	}
	if f.Mode == certs.ModeFiles {
		if err := f.Verify(d.machine.roots); err != nil && left > 0 {
			d.add(levelWarn, check, "put the certificates between yours and the authority's into "+f.File+" (fullchain.pem), or let clients trust the authority",
				"clients may refuse %s: %s", f.File, oneLine(err))
			return
		}
	}
	kind := f.Mode
	if kind == certs.ModeFiles {
		kind = "from " + f.File
	}
	d.ok(check, "%s, valid for %s", kind, humanAge(left))
}

// checkBackups checks the scheduled backups.
func (d *doctor) checkBackups() {
	dir := d.settingText("backup.dir")
	if dir == "" {
		d.add(levelWarn, "backup", "set backup.dir: /var/backups/imctl", "the server makes no backups")
		return
	}
	every, err := parseDuration(d.settingText("backup.every"))
	if err != nil {
		every = day
	}
	// In a cluster another node may have made the last one, on its disk.
	if at, ok := d.lastBackup(); ok && d.now.Sub(at) <= 2*every {
		d.ok("backup", "the last one is %s old", humanAge(d.now.Sub(at)))
		return
	}
	d.checkBackupDir(dir, every)
}

// lastBackup returns the time of the last scheduled backup of all nodes, from the metrics of the running server. It
// returns false if that is unknown.
func (d *doctor) lastBackup() (at time.Time, ok bool) {
	if d.server == nil || d.config.Ops.Listen == "" || certs.Encrypted(d.config.TLS.Mode, d.config.Ops.Listen) {
		return at, false
	}
	addr, err := net.ResolveTCPAddr("tcp", d.config.Ops.Listen)
	if err != nil {
		return at, false
	}
	client := &http.Client{Timeout: connectTimeout}
	answer, err := client.Get("http://" + reachable(addr) + "/metrics")
	if err != nil {
		return at, false
	}
	defer answer.Body.Close()
	const name = "imctl_backup_last_success_timestamp_seconds"
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			seconds, err := strconv.ParseFloat(value, 64)
			return time.Unix(int64(seconds), 0), err == nil && seconds > 0
		}
	}
	return at, false
}

// checkBackupDir checks the age of the newest backup in a directory.
func (d *doctor) checkBackupDir(dir string, every time.Duration) {
	const check = "backup"
	newest, at, err := newestBackup(dir, d.config.NATS.Prefix)
	remedy := "make one by hand and look at its error: imctl backup " + filepath.Join(dir, "now.tar")
	switch {
	case errors.Is(err, fs.ErrNotExist) && d.server == nil:
		d.add(levelWarn, check, "start the server, which makes them", "%s has no backup", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		d.add(levelFail, check, "let the user of the server write it: chown imctl "+dir, "%s", withoutSecrets(err))
	case newest == "":
		d.add(levelFail, check, remedy, "%s has no backup", dir)
	case d.now.Sub(at) > 2*every:
		d.add(levelFail, check, remedy, "the newest one is %s old, with backup.every: %s", humanAge(d.now.Sub(at)), formatDuration(every))
	default:
		d.ok(check, "%s, %s old", newest, humanAge(d.now.Sub(at)))
	}
}

// newestBackup returns the newest file in a directory of backups. Without one the error is fs.ErrNotExist.
func newestBackup(dir, prefix string) (name string, at time.Time, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", at, err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "imctl-"+prefix+"-") || !strings.Contains(e.Name(), ".tar") {
			continue
		}
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && info.ModTime().After(at) {
			name, at = e.Name(), info.ModTime()
		}
	}
	if name == "" {
		return "", at, fs.ErrNotExist
	}
	return name, at, nil
}

// settingText returns the value of a setting, "" if there is no such setting.
func (d *doctor) settingText(key string) string {
	for _, s := range d.config.settings() {
		if s.key == key {
			return s.String()
		}
	}
	return ""
}

// isProxyAddress reports whether an address is a loopback or private address, which no client on the internet has.
func isProxyAddress(address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && (a.IsLoopback() || a.IsPrivate())
}
