//go:build !linux

package cmd

// readProgramByPage does nothing: this system has no limit of memory that counts the pages of the program.
func readProgramByPage() error { return nil }
