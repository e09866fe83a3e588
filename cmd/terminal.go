package cmd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// Terminal asks somebody who can answer.
type Terminal interface {
	// Line shows the prompt and returns what was typed.
	Line(ctx context.Context, prompt string) (string, error)
	// Password does the same without showing what is typed.
	Password(ctx context.Context, prompt string) (string, error)
}

// processTerminal is the terminal that the process's standard input is.
type processTerminal struct{ in, out *os.File }

// stdinTerminal returns nil where standard input is no terminal: nothing may wait for an answer then.
func stdinTerminal() Terminal {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	// Standard output is for the answer of the command, not for its questions.
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
		// The read is still waiting, with the echo off.
		_ = term.Restore(fd, state)
	}
	fmt.Fprintln(t.out)
	return password, err
}

// await returns when the read does or the context ends. A read of a terminal or a pipe cannot be
// called off; the process that was interrupted ends, and the read with it.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
