package subject

import "strings"

func (p Prefix) TalkStream() string      { return strings.ToUpper(string(p)) + "_TALKS" }
func (p Prefix) TalkAll() string         { return string(p) + ".talk.>" }
func (p Prefix) Talk(a, b string) string { return string(p) + ".talk." + a + "." + b }
