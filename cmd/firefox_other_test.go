//go:build !linux

package cmd

import "os/exec"

// endsWithTests needs Linux to let a process end with the tests if they are killed. A run that ends closes it.
func endsWithTests(*exec.Cmd) {}
