package subject

// AuthAll covers the requests to programs that know the users of another system: logins and lookups.
func (p Prefix) AuthAll() string { return string(p) + ".auth.>" }

// AuthLogin returns the subject of a request whether an account and a password are right.
func (p Prefix) AuthLogin() string { return string(p) + ".auth.login" }

// AuthLookup returns the subject of a request whether an account is known.
func (p Prefix) AuthLookup() string { return string(p) + ".auth.lookup" }
