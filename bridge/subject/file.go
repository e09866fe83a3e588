package subject

import "strings"

// FileStream returns the name of the stream of files.
func (p Prefix) FileStream() string { return strings.ToUpper(string(p)) + "_FILES" }

// FileRestoreStream returns the name of the stream in which a restore stages the files.
func (p Prefix) FileRestoreStream() string { return p.FileStream() + "_RESTORE" }

// FileRestore returns the subject of the stream in which a restore stages the files.
func (p Prefix) FileRestore() string { return string(p) + ".restore.files" }

// FileAll returns the filter of all messages of files.
func (p Prefix) FileAll() string { return string(p) + ".file.>" }

// File returns a subject of files with these words.
func (p Prefix) File(words ...string) string { return string(p) + ".file." + strings.Join(words, ".") }
