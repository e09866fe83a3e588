package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// manager stands in for systemd on a machine, where it cannot run: systemctl starts and stops services as their units
// say, with their users, directories, capabilities and sockets, and Type=notify services must say that they are ready.
type manager struct {
	m       *machine
	mu      sync.Mutex
	running map[string]*process // by unit
	sockets map[string]*os.File // by unit
	journal *os.File            // log of all services
}

// process is a running service.
type process struct {
	*exec.Cmd
	notify *net.UnixConn
	ready  chan struct{} // closed when the service has told that it is ready
	ended  chan struct{}
}

// manage replaces systemctl and journalctl of a machine.
func (m *machine) manage() *manager {
	m.t.Helper()
	d := &manager{m: m, running: make(map[string]*process), sockets: make(map[string]*os.File)}
	var err error
	if d.journal, err = m.files.OpenFile("run/journal", os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644); err != nil {
		m.t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(m.root, "run/manager.sock"))
	if err != nil {
		m.t.Fatal(err)
	}
	server := &http.Server{Handler: d, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		_ = server.Serve(socket) // until it is closed
		close(served)
	}()
	m.t.Cleanup(func() {
		_ = server.Close()
		<-served
		for _, p := range d.running {
			_ = p.Process.Kill() // fails if it has ended
			<-p.ended
		}
		for _, s := range d.sockets {
			_ = s.Close()
		}
		_ = d.journal.Close()
	})
	m.write("/usr/bin/systemctl", `#!/bin/sh
case " $* " in *" --root=/ "*) exec systemctl.real "$@" ;; esac
exec curl -sS --fail-with-body --unix-socket /run/manager.sock --data-binary "$*" http://localhost/
`, 0o755)
	m.write("/usr/bin/journalctl", "#!/bin/sh\nexec cat /run/journal\n", 0o755)
	return d
}

func (d *manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = d.systemctl(strings.Fields(string(body)), w)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (d *manager) systemctl(words []string, w io.Writer) error {
	now := slices.Contains(words, "--now")
	words = slices.DeleteFunc(words, func(s string) bool { return strings.HasPrefix(s, "-") })
	if len(words) == 0 {
		return errors.New("no command")
	}
	for _, unit := range words[1:] {
		if filepath.Ext(unit) == "" {
			unit += ".service"
		}
		if err := d.do(words[0], unit, now, w); err != nil {
			return fmt.Errorf("systemctl %s %s: %w", words[0], unit, err)
		}
	}
	return nil
}

func (d *manager) do(verb, unit string, now bool, w io.Writer) error {
	p := d.running[unit]
	switch verb {
	case "is-enabled":
		_, _ = io.WriteString(w, "enabled\n") // fails if the client has ended
	case "status", "is-active":
		if p == nil {
			return errors.New("inactive (dead)")
		}
		_, _ = fmt.Fprintln(w, "active (running)")
	case "start", "enable":
		if p == nil && (verb == "start" || now) {
			return d.start(unit)
		}
	case "stop", "disable":
		if verb == "stop" || now {
			return d.stop(unit)
		}
	case "restart", "try-restart":
		if p == nil && verb == "try-restart" {
			return nil
		}
		if err := d.stop(unit); err != nil {
			return err
		}
		return d.start(unit)
	case "reload":
		if p == nil {
			return errors.New("the unit is not active, cannot reload")
		}
		return p.Process.Signal(syscall.SIGHUP)
	case "preset", "daemon-reload":
	default:
		return errors.New("unknown command")
	}
	return nil
}

// unitFile returns the settings of a unit, those that may be repeated joined with spaces.
func (d *manager) unitFile(unit string) (map[string]string, error) {
	text, err := d.m.files.ReadFile("usr/lib/systemd/system/" + unit)
	if err != nil {
		return nil, err
	}
	settings := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = strings.TrimSpace(settings[key] + " " + value)
		}
	}
	return settings, nil
}

func (d *manager) start(unit string) error {
	switch filepath.Ext(unit) {
	case ".socket":
		return d.startSocket(unit)
	case ".timer":
		return d.startTimer(unit)
	}
	settings, err := d.unitFile(unit)
	if err != nil {
		return err
	}
	p, err := d.command(unit, settings)
	if err != nil {
		return err
	}
	if settings["Type"] == "oneshot" {
		return p.Run()
	}
	if err := p.Start(); err != nil {
		return err
	}
	d.running[unit] = p
	go func() {
		_ = p.Wait() // ProcessState has the result
		close(p.ended)
		if p.notify != nil {
			_ = p.notify.Close() // ends the reader
		}
	}()
	if p.notify == nil {
		return nil
	}
	go p.readStates()
	problem := "does not get ready"
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		problem = "ended"
	case <-time.After(time.Minute):
	}
	log, err := d.m.files.ReadFile("run/journal")
	return errors.Join(fmt.Errorf("the service %s: %s", problem, log), err)
}

// readStates reads what the service tells (sd_notify), until it has ended.
func (p *process) readStates() {
	message := make([]byte, 4096)
	for told := false; ; {
		n, err := p.notify.Read(message)
		if err != nil {
			return
		}
		if !told && slices.Contains(strings.Split(string(message[:n]), "\n"), "READY=1") {
			told = true
			close(p.ready)
		}
	}
}

// command returns the process of a service, which is not started yet.
func (d *manager) command(unit string, settings map[string]string) (*process, error) {
	args := strings.Fields(settings["ExecStart"])
	p := &process{Cmd: exec.Command(args[0], args[1:]...), ready: make(chan struct{}), ended: make(chan struct{})}
	p.Env, p.Dir = []string{"PATH=/usr/sbin:/usr/bin"}, settings["WorkingDirectory"]
	p.Stdout, p.Stderr = d.journal, d.journal
	p.SysProcAttr = &syscall.SysProcAttr{Chroot: d.m.root, Pdeathsig: syscall.SIGKILL}
	if p.Dir == "" {
		p.Dir = "/"
	}
	if name := settings["User"]; name != "" {
		if dir := settings["RuntimeDirectory"]; dir != "" {
			install := exec.Command("/usr/bin/install", "-d", "-o", name, "-g", settings["Group"], "/run/"+dir)
			install.SysProcAttr, install.Dir = &syscall.SysProcAttr{Chroot: d.m.root}, "/"
			if out, err := install.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%w: %s", err, out)
			}
		}
		caps := "-all"
		if c := settings["AmbientCapabilities"]; c != "" {
			caps += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
		}
		p.wrap("unshare", "--mount", "sh", "-euc", sandbox, settings["StateDirectory"], settings["RuntimeDirectory"], settings["ReadWritePaths"],
			"setpriv", "--reuid", name, "--regid", settings["Group"], "--init-groups", "--inh-caps", caps, "--ambient-caps", caps, "--bounding-set", caps,
			"--no-new-privs")
	}
	if settings["Type"] == "notify" {
		name := filepath.Join(d.m.root, "run/notify-"+unit)
		if err := os.RemoveAll(name); err != nil {
			return nil, err
		}
		var err error
		if p.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"}); err != nil {
			return nil, err
		}
		if err := os.Chmod(name, 0o777); err != nil {
			return nil, err
		}
		p.Env = append(p.Env, "NOTIFY_SOCKET=/run/notify-"+unit, "WATCHDOG_USEC=60000000")
	}
	return p, d.passSocket(p, strings.TrimSuffix(unit, ".service")+".socket")
}

// sandbox is what ProtectSystem=strict, ProtectHome=yes and PrivateTmp=yes do. Its arguments are StateDirectory,
// RuntimeDirectory, ReadWritePaths, and the command.
const sandbox = `
for dir in ${0:+/var/lib/$0} ${1:+/run/$1} $2; do
	dir=${dir#-}
	mount --bind "$dir" "$dir"
done
mount -o remount,bind,ro /
mount -o remount,bind,ro /run
for dir in /root /home; do mount -t tmpfs -o ro,mode=0 tmpfs "$dir"; done
mount -t tmpfs -o mode=1777 tmpfs /tmp
shift 2
exec "$@"
`

// wrap has a command start the one of the service.
func (p *process) wrap(args ...string) {
	p.Args = append(args, p.Args...)
	p.Path = filepath.Join("/usr/bin", args[0])
}

// passSocket passes the socket of a unit to its service (LISTEN_FDS).
func (d *manager) passSocket(p *process, unit string) error {
	socket := d.sockets[unit]
	if socket == nil {
		return nil
	}
	settings, err := d.unitFile(unit)
	if err != nil {
		return err
	}
	p.ExtraFiles = []*os.File{socket}
	p.Env = append(p.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES="+settings["FileDescriptorName"])
	p.wrap("sh", "-c", `export LISTEN_PID=$$; exec "$@"`, "sh")
	return nil
}

// startSocket listens as a socket unit says. systemd refuses that while the service runs.
func (d *manager) startSocket(unit string) error {
	if service := strings.TrimSuffix(unit, ".socket") + ".service"; d.running[service] != nil {
		return fmt.Errorf("socket service %s already active, refusing", service)
	}
	settings, err := d.unitFile(unit)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":"+settings["ListenStream"])
	if err != nil {
		return err
	}
	defer listener.Close()
	d.sockets[unit], err = listener.(*net.TCPListener).File()
	return err
}

// startTimer runs the service of a timer once, as a timer does that is due.
func (d *manager) startTimer(unit string) error {
	if settings, err := d.unitFile(unit); err != nil {
		return err
	} else if settings["OnCalendar"] == "" {
		return errors.New("the timer has no time")
	}
	return d.start(strings.TrimSuffix(unit, ".timer") + ".service")
}

func (d *manager) stop(unit string) error {
	p := d.running[unit]
	if p == nil {
		return nil
	}
	delete(d.running, unit)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		return errors.New("the service does not end")
	}
	if !p.ProcessState.Success() {
		return fmt.Errorf("the service ended with %s", p.ProcessState)
	}
	return nil
}
