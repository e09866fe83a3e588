//go:build !linux

package cmd

import "os"

// dropCache does nothing on this system.
func dropCache(*os.File) {}
