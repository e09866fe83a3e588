package subject

// HookAll covers the requests to programs that moderate: what a user is about to do.
func (p Prefix) HookAll() string { return string(p) + ".hook.>" }

// HookDialogue returns the subject of the question whether a dialogue may be sent.
func (p Prefix) HookDialogue(from, to string) string {
	return string(p) + ".hook.dialogue." + from + "." + to
}

// AppendHookDialogue appends HookDialogue to dst.
func (p Prefix) AppendHookDialogue(dst []byte, from, to string) []byte {
	dst = append(append(dst, p...), ".hook.dialogue."...)
	dst = append(append(dst, from...), '.')
	return append(dst, to...)
}

// HookRegister returns the subject of the question whether an account may be registered.
func (p Prefix) HookRegister() string { return string(p) + ".hook.register" }

// HookRequest returns the subject of the question whether a friend request may be made.
func (p Prefix) HookRequest(from, to string) string {
	return string(p) + ".hook.request." + from + "." + to
}
