package subject

// AuthAll covers the requests to programs that know the users of another system: logins and lookups.
func (p Prefix) AuthAll() string { return string(p) + ".auth.>" }
