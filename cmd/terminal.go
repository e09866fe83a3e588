package cmd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// Terminal prompts the user. Its methods return early with the error of ctx when it ends.
type Terminal interface {
	// Line shows the prompt and returns the line that the user enters.
	Line(ctx context.Context, prompt string) (string, error)
	// Password is Line without echo.
	Password(ctx context.Context, prompt string) (string, error)
}

// processTerminal is the terminal of the process.
type processTerminal struct{ in, out *os.File }

// stdinTerminal returns nil if standard input is not a terminal. Commands do not prompt then.
func stdinTerminal() Terminal {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	// Standard output is for the output of the command, not for prompts.
	return processTerminal{in: os.Stdin, out: os.Stderr}
}

func (t processTerminal) Line(ctx context.Context, prompt string) (string, error) {
	fmt.Fprint(t.out, prompt)
	return await(ctx, func() (string, error) {
		line, err := bufio.NewReader(t.in).ReadString('\n')
		return strings.TrimRight(line, "\r\n"), err
	})
}

func (t processTerminal) Password(ctx context.Context, prompt string) (string, error) {
	fd := int(t.in.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	fmt.Fprint(t.out, prompt)
	password, err := await(ctx, func() (string, error) {
		password, err := term.ReadPassword(fd)
		return string(password), err
	})
	if ctx.Err() != nil {
		// The read is still blocked, with the echo off.
		_ = term.Restore(fd, state)
	}
	fmt.Fprintln(t.out)
	return password, err
}

// await calls read, and returns early when ctx ends. A read from a terminal or a pipe cannot be canceled, so it goes on
// until the interrupted process ends.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	results := make(chan result, 1)
	go func() {
		text, err := read()
		results <- result{text, err}
	}()
	select {
	case r := <-results:
		return r.text, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
