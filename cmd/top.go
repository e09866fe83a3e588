package cmd

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"imctl/bridge/natsutil"
)

const (
	minTopInterval = 200 * time.Millisecond
	maxTopInterval = time.Hour
)

func newTop(env *Env) *cobra.Command {
	var output outputFormat
	var o topOptions
	var once bool
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch the load of the servers",
		Long: `Show sessions, users online, dialogues, logins, refusals, answer times and resources of each node, the fill
of the streams and the consumers of the event log, and refresh the view. Rates are those since the last view,
and in the first view since the start of the node.

Keys: q ends the command, s sorts the nodes by the next column, r reverses the order.

If standard output is not a terminal, or with --once, show one view. With -o json each view is one JSON object
on a line. Exit with 5 if no server is running.`,
		Example: "  imctl top\n  imctl top --once\n  imctl top -o json -n 10 --interval 1s",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case o.interval < minTopInterval || o.interval > maxTopInterval:
				return usageErrorf("--interval must be from %s to %s", minTopInterval, maxTopInterval)
			case o.count < 0:
				return usageErrorf("--count must not be negative")
			case topSorts[o.sort] == nil:
				return usageErrorf("--sort must be one of %s", topSortNames())
			}
			screen := new(topScreen)
			if output.json() {
				o.json = true
			} else if !once && env.Terminal != nil {
				screen = terminalScreen(env.Out)
			}
			if once || o.count == 0 && screen.size == nil && !o.json {
				o.count = 1
			}
			return withServer(c, env, func(ctx context.Context, s *adminConn) error {
				restore, err := screen.open()
				if err != nil {
					return err
				}
				defer restore()
				return runTop(ctx, env.Out, screen, o, func(ctx context.Context) (topSample, error) { return readTop(ctx, s) })
			})
		},
	}
	c.Flags().DurationVar(&o.interval, "interval", 2*time.Second, "time between two views")
	c.Flags().IntVarP(&o.count, "count", "n", 0, "end after `N` views (0 = no limit)")
	c.Flags().BoolVar(&once, "once", false, "show one view")
	c.Flags().StringVar(&o.sort, "sort", "name", "sort the nodes by name, sessions, dialogues, cpu or memory")
	completeFlag(c, "sort", topColumns...)
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

type topOptions struct {
	interval time.Duration
	count    int // of views, 0 for no limit
	sort     string
	reverse  bool
	json     bool
}

// topScreen is the terminal of top. The zero value is none.
type topScreen struct {
	size func() (width, height int)
	keys <-chan byte
	in   *os.File
}

// terminalScreen returns the terminal of the process, none if w is not one.
func terminalScreen(w io.Writer) *topScreen {
	out, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) || !term.IsTerminal(int(os.Stdin.Fd())) {
		return new(topScreen)
	}
	return &topScreen{in: os.Stdin, size: func() (int, int) {
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			return defaultWidth, defaultHeight
		}
		return width, height
	}}
}

// open makes the terminal deliver each key. restore undoes that.
func (s *topScreen) open() (restore func(), err error) {
	if s.in == nil {
		return func() {}, nil
	}
	before, err := term.MakeRaw(int(s.in.Fd()))
	if err != nil {
		return nil, err
	}
	keys := make(chan byte)
	s.keys = keys
	go func() { // a read of a terminal cannot be canceled: it ends with the process
		var b [1]byte
		for {
			if n, err := s.in.Read(b[:]); err != nil || n == 0 {
				return
			}
			keys <- b[0]
		}
	}()
	return func() { _ = term.Restore(int(s.in.Fd()), before) }, nil
}

// The control sequences of a terminal (ECMA-48, and xterm's alternate screen).
const (
	screenBegin = "\x1b[?1049h\x1b[?25l"
	screenEnd   = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	lineEnd     = "\x1b[K\r\n"
	screenRest  = "\x1b[J"

	keyInterrupt = 3 // Ctrl-C
)

// runTop shows views until a key ends it, or the count is reached.
func runTop(ctx context.Context, out io.Writer, screen *topScreen, o topOptions, read func(context.Context) (topSample, error)) error {
	var before topSample
	if screen.size != nil {
		if _, err := io.WriteString(out, screenBegin); err != nil {
			return err
		}
		defer func() { _, _ = io.WriteString(out, screenEnd) }()
	}
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for n := 1; ; n++ {
		now, err := read(ctx)
		if err != nil {
			return err
		}
		view := newTopView(before, now)
		before = now
		if err := view.write(out, screen, o); err != nil {
			return err
		}
		if n == o.count {
			return nil
		}
	wait:
		for {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-tick.C:
				break wait
			case key := <-screen.keys:
				if key == 'q' || key == keyInterrupt {
					return nil
				}
				o.press(key)
				if err := view.write(out, screen, o); err != nil {
					return err
				}
			}
		}
	}
}

// press changes the options by a key.
func (o *topOptions) press(key byte) {
	switch key {
	case 's':
		o.sort = nextSort(o.sort)
	case 'r':
		o.reverse = !o.reverse
	}
}

// readTop reads the state of all nodes, of the streams and of the event log.
func readTop(ctx context.Context, s *adminConn) (t topSample, err error) {
	live, err := s.Status(ctx)
	if err != nil {
		return t, err
	}
	if len(live.Nodes) == 0 {
		return t, &failure{exitNoServer, errors.New("no server is running"), noServerRemedy}
	}
	t.at, t.accounts, t.nodes = time.Now(), live.Accounts, live.Nodes
	js, err := natsutil.JetStream(s.nc)
	if err != nil {
		return t, err
	}
	if t.streams, err = readStreams(ctx, js, s.config.NATS.Prefix); err != nil {
		return t, err
	}
	t.log, err = readLog(ctx, js, s.config.NATS)
	return t, err
}
