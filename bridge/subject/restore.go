package subject

import "strings"

// TalkRestoreStream returns the name of the stream in which a restore stages the conversations.
func (p Prefix) TalkRestoreStream() string { return strings.ToUpper(string(p)) + "_TALKS_RESTORE" }

// TalkRestore returns the subject of the stream in which a restore stages the conversations.
func (p Prefix) TalkRestore() string { return string(p) + ".restore.talks" }
