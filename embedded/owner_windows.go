package embedded

import "io/fs"

// ownerOf returns false: access lists, and not the owner, decide who can read a file.
func ownerOf(fs.FileInfo) (Identity, bool) { return Identity{}, false }

// openDirectly are no flags: only an administrator makes a symbolic link.
const openDirectly = 0

// names returns 1. It is not asked, since ownerOf returns false.
func names(fs.FileInfo) int { return 1 }

// AsOwner does nothing, since no user leaves files that others can't read.
func AsOwner(string) (back func() error, err error) { return func() error { return nil }, nil }
