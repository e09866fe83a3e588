package subject

// HookAll covers the requests to programs that moderate: what a user is about to do.
func (p Prefix) HookAll() string { return string(p) + ".hook.>" }
