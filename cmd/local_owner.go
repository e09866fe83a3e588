package cmd

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"imctl/embedded"
)

// A command of root does not open the data directory of another user: its files would be root's, and the server of that
// user could not read them. The command starts the hidden command data-server as that user instead, which opens the
// directory, and connects to its socket. The command itself stays root, and reads and writes files as root.
//
//	standard input    the configuration, which has secrets; its end ends the server
//	standard output   an ownerReport once the server is ready, and another one when it has ended

// ownerCommand is the name of the hidden command.
const ownerCommand = "data-server"

// ownerReport is a line of the hidden command.
type ownerReport struct {
	Error  string `json:"error,omitempty"`
	InUse  bool   `json:"in_use,omitempty"` // the error is embedded.ErrDirInUse
	Code   int    `json:"code,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// reportOf returns the report of an error, or of success if it is nil.
func reportOf(err error) ownerReport {
	if err == nil {
		return ownerReport{}
	}
	r := ownerReport{Error: oneLine(err), InUse: errors.Is(err, embedded.ErrDirInUse), Code: exitFailed}
	if failed, ok := errors.AsType[*failure](err); ok {
		r.Code, r.Remedy = failed.code, failed.remedy
	}
	return r
}

// err returns the error of the report.
func (r ownerReport) err() error {
	switch {
	case r.Error == "":
		return nil
	case r.InUse:
		return inUseError(r.Error)
	}
	return &failure{r.Code, errors.New(r.Error), r.Remedy}
}

// inUseError is the text of an embedded.ErrDirInUse of another process.
type inUseError string

func (e inUseError) Error() string        { return string(e) }
func (e inUseError) Is(target error) bool { return target == embedded.ErrDirInUse }

// newDataServer returns the hidden command that opens a data directory for a command of root.
func newDataServer(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:    ownerCommand,
		Short:  "Open the data directory for a command of root",
		Hidden: true,
		Args:   maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			config := new(Config)
			if err := gob.NewDecoder(env.In).Decode(config); err != nil {
				return usageErrorf("only imctl itself runs this command: read the configuration: %w", err)
			}
			signal.Ignore(syscall.SIGPIPE) // a command that was killed does not read the reports
			local, err := openLocal(c.Context(), env, config)
			if err != nil {
				return writeJSON(env.Out, reportOf(err))
			}
			err = writeJSON(env.Out, ownerReport{})
			if err == nil {
				awaitEnd(c.Context(), env.In)
			}
			return errors.Join(err, writeJSON(env.Out, reportOf(local.close())))
		},
	}
}

// awaitEnd returns when the input or the context ends.
func awaitEnd(ctx context.Context, in io.Reader) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // an error is an end, too
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// openAsOwner opens the data directory in a process of its owner, and connects to it.
func (d *dialer) openAsOwner(ctx context.Context, owner embedded.Identity) (*nats.Conn, func() error, error) {
	c := *d.config
	c.Data = absolute(c.Data)
	s, err := startOwnerServer(d.env, &c, owner)
	if err != nil {
		return nil, nil, err
	}
	nc, err := d.dialSocket(ctx)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("the server of %s: %w", owner, err), s.close())
	}
	return nc, func() error { nc.Close(); return s.close() }, nil
}

// ownerServer is the process that has opened a data directory.
type ownerServer struct {
	process *exec.Cmd
	stdin   io.Closer
	reports *json.Decoder
}

// startOwnerServer starts the process and returns when its socket is open.
func startOwnerServer(env *Env, c *Config, owner embedded.Identity) (_ *ownerServer, err error) {
	program := "/proc/self/exe" // the owner may not be able to enter the directory of the program
	if runtime.GOOS != "linux" {
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	p := exec.Command(program, ownerCommand)
	p.Args[0] = "imctl"
	// A pipe leads to standard error: the owner can take the process over, and a terminal takes commands.
	p.Dir, p.Stderr, p.Env = "/", printableWriter{env.Err}, ownerEnviron(os.Environ())
	becomeUser(p, owner)
	stdin, err := p.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, &failure{exitFailed, fmt.Errorf("data directory %s belongs to %s: %w", c.Data, owner, err),
			fmt.Sprintf("run the command as that user: sudo -u %s imctl ...", owner)}
	}
	s := &ownerServer{p, stdin, json.NewDecoder(stdout)}
	if err := gob.NewEncoder(stdin).Encode(c); err != nil {
		return nil, errors.Join(err, s.close())
	}
	var ready ownerReport
	if err := s.reports.Decode(&ready); err != nil {
		return nil, errors.Join(fmt.Errorf("the server of %s did not start: %w", owner, err), s.close())
	}
	if ready.Error != "" {
		return nil, errors.Join(ready.err(), s.stdin.Close(), s.process.Wait())
	}
	return s, nil
}

// close ends the process and returns the error with which its server has ended.
func (s *ownerServer) close() error {
	err := s.stdin.Close()
	var ended ownerReport
	if decodeErr := s.reports.Decode(&ended); decodeErr != nil {
		return errors.Join(err, fmt.Errorf("the server of the data directory ended early: %w", errors.Join(decodeErr, s.process.Wait())))
	}
	return errors.Join(err, ended.err(), s.process.Wait())
}

// ownerEnviron returns the variables that the process gets. The settings come by standard input, and the others may
// have secrets of root.
func ownerEnviron(environ []string) (kept []string) {
	for _, v := range environ {
		if name, _, _ := strings.Cut(v, "="); name == "PATH" || name == "TZ" || strings.HasPrefix(name, "GO") {
			kept = append(kept, v)
		}
	}
	return kept
}
