package cmd

import (
	"errors"
	"io/fs"
	"net"
	"strconv"
	"time"
)

// checkClock checks that the system's clock is synchronised.
func (d *doctor) checkClock() {
	switch synchronised, known := d.machine.clock(); {
	case !known:
		d.add(levelWarn, "clock", "", "the system does not tell whether its clock is synchronised")
	case !synchronised:
		d.add(levelWarn, "clock", "timedatectl set-ntp true", "it is not synchronised: times of dialogues and certificates may be wrong")
	default:
		d.ok("clock", "synchronised")
	}
}

const (
	fewDescriptors = 4096     // fewer serve at most some 2,300 clients
	littleMemory   = 48 << 20 // a server for ten people needs that
	shortBacklog   = 512
)

// checkLimits checks the limits of the system on the server, or on this process if no server runs.
func (d *doctor) checkLimits() {
	l, before := d.machine.limits(d.pid), len(d.found)
	if l.descriptors > 0 && l.descriptors < fewDescriptors {
		people, _ := clientDescriptors(int(l.descriptors))
		d.add(levelWarn, "limits", "systemctl edit imctl, and write: [Service] LimitNOFILE=65536; or ulimit -n 65536", "%d open files, which allow %d connections", l.descriptors, people)
	}
	if l.memory > 0 && l.memory < littleMemory {
		d.add(levelWarn, "limits", "allow 64 MiB or more: MemoryMax=64M in the unit, or --memory 64m", "%s of memory", humanBytes(l.memory))
	}
	if l.backlog > 0 && l.backlog < shortBacklog {
		d.add(levelWarn, "limits", "sysctl -w net.core.somaxconn=4096", "a backlog of %d connections: clients that return together after a restart are refused", l.backlog)
	}
	if len(d.found) > before {
		return
	}
	memory := "memory without a limit"
	if l.memory > 0 {
		memory = humanBytes(l.memory) + " of memory"
	}
	d.ok("limits", "%d open files, %s", l.descriptors, memory)
}

// checkPorts checks that the server has its ports, or can have them at its start.
func (d *doctor) checkPorts() {
	listeners, before := d.config.listeners(), len(d.found)
	if d.config.clustered() {
		listeners = append(listeners, listener{"nats.cluster.listen", d.config.NATS.Cluster.Listen})
	}
	for _, l := range listeners {
		d.checkPort(l)
	}
	if len(d.found) == before {
		d.ok("ports", "%s", plural(len(listeners), "listener"))
	}
}

func (d *doctor) checkPort(l listener) {
	_, text, err := net.SplitHostPort(l.address)
	port, parsed := strconv.Atoi(text)
	if err != nil || parsed != nil || port == 0 {
		return // a Unix socket, or any free port
	}
	pid, name := d.machine.holder(port)
	switch {
	case pid > 0 && pid == d.pid:
	case pid > 0:
		d.add(levelFail, "ports", "stop that program, or set "+l.key+" to another port", "%s: %s is in use by %s, process %d", l.key, l.address, printable(name), pid)
	case d.server != nil:
		d.dialPort(l)
	default:
		d.tryPort(l)
	}
}

// dialPort checks that the running server listens at an address.
func (d *doctor) dialPort(l listener) {
	addr, err := net.ResolveTCPAddr("tcp", l.address)
	if err == nil {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", reachable(addr), time.Second); err == nil {
			c.Close()
		}
	}
	if err != nil {
		d.add(levelWarn, "ports", "systemctl restart imctl", "%s: the server does not listen on %s: the setting may have changed since its start", l.key, l.address)
	}
}

// tryPort listens at an address for a moment.
func (d *doctor) tryPort(l listener) {
	socket, err := net.Listen("tcp", l.address)
	switch {
	case err == nil:
		socket.Close()
	case errors.Is(err, fs.ErrPermission):
		d.add(levelFail, "ports", "setcap cap_net_bind_service=+ep $(command -v imctl), or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit",
			"%s: this user may not listen on %s", l.key, l.address)
	default:
		d.add(levelFail, "ports", "stop the program that has it, or set "+l.key+" to another address", "%s", oneLine(listenError(l.key, l.address, err)))
	}
}
