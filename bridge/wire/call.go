package wire

// An Auth is who calls: the id and the token of a login's answer. Both are empty in a call by NATS.
type Auth struct {
	ID    string
	Token string
}

func (f *fields) auth() Auth {
	return Auth{ID: f.line("id", 0), Token: f.line("token", 0)}
}

// check looks at the token first: so does the protocol.
func (a Auth) check() Code {
	switch {
	case a.Token == "":
		return AuthEmpty
	case a.ID == "":
		return AccountIDEmpty
	}
	return 0
}

// Each call below is parsed from the query of its URL, or, under a name that ends in JSON, from the body of a call by
// NATS, which has neither id nor token. The code is 0 for a call that may go on, else, in this order,
// [ProtocolError], [AuthEmpty] or [AccountIDEmpty]. The call's own fields may still be empty: the protocol judges that only after the
// token, so Check is left to the caller.

// A FoundCall looks for people by name.
type FoundCall struct {
	Auth
	Name string
}

// ParseFound parses the query of a search.
func ParseFound(rawQuery string) (FoundCall, Code) {
	return withAuth(foundCall(queryFields(rawQuery, "id", "token", "name")))
}

// ParseFoundJSON parses a search by NATS.
func ParseFoundJSON(body []byte) (FoundCall, Code) { return foundCall(jsonFields(body, "name")) }

func foundCall(f *fields) (FoundCall, Code) {
	c := FoundCall{Auth: f.auth(), Name: f.line("name", MaxName)}
	return sane(f, c)
}

// Check returns [NameEmpty] or 0.
func (c FoundCall) Check() Code {
	if c.Name == "" {
		return NameEmpty
	}
	return 0
}

// A RequestCall asks somebody to be a friend.
type RequestCall struct {
	Auth
	To   string
	Note string
}

// ParseRequest parses the query of a request.
func ParseRequest(rawQuery string) (RequestCall, Code) {
	return withAuth(requestCall(queryFields(rawQuery, "id", "token", "to", "note")))
}

// ParseRequestJSON parses a request by NATS.
func ParseRequestJSON(body []byte) (RequestCall, Code) {
	return requestCall(jsonFields(body, "to", "note"))
}

func requestCall(f *fields) (RequestCall, Code) {
	c := RequestCall{Auth: f.auth(), To: f.line("to", 0), Note: f.lines("note", MaxNote)}
	return sane(f, c)
}

// Check returns [FriendEmpty] or 0.
func (c RequestCall) Check() Code {
	if c.To == "" {
		return FriendEmpty
	}
	return 0
}

// An AddCall accepts somebody's request, or names a friend that has no alias yet.
type AddCall struct {
	Auth
	From string
	Name string // the alias
}

// ParseAdd parses the query of an add.
func ParseAdd(rawQuery string) (AddCall, Code) {
	return withAuth(addCall(queryFields(rawQuery, "id", "token", "from", "name")))
}

// ParseAddJSON parses an add by NATS.
func ParseAddJSON(body []byte) (AddCall, Code) { return addCall(jsonFields(body, "from", "name")) }

func addCall(f *fields) (AddCall, Code) {
	c := AddCall{Auth: f.auth(), From: f.line("from", 0), Name: f.line("name", MaxAlias)}
	return sane(f, c)
}

// Check returns [FriendEmpty], [AliasEmpty] or 0.
func (c AddCall) Check() Code {
	switch {
	case c.From == "":
		return FriendEmpty
	case c.Name == "":
		return AliasEmpty
	}
	return 0
}

// A RemoveCall ends a friendship.
type RemoveCall struct {
	Auth
	To string
}

// ParseRemove parses the query of a removal.
func ParseRemove(rawQuery string) (RemoveCall, Code) {
	return withAuth(removeCall(queryFields(rawQuery, "id", "token", "to")))
}

// ParseRemoveJSON parses a removal by NATS.
func ParseRemoveJSON(body []byte) (RemoveCall, Code) { return removeCall(jsonFields(body, "to")) }

func removeCall(f *fields) (RemoveCall, Code) {
	c := RemoveCall{Auth: f.auth(), To: f.line("to", 0)}
	return sane(f, c)
}

// Check returns [FriendEmpty] or 0.
func (c RemoveCall) Check() Code {
	if c.To == "" {
		return FriendEmpty
	}
	return 0
}

// ParseLogout parses the body of a logout: who calls, and nothing else.
func ParseLogout(body []byte) (Auth, Code) {
	f := jsonFields(body, "id", "token")
	return withAuth(sane(f, f.auth()))
}

// sane drops a call whose fields are malformed.
func sane[T any](f *fields, call T) (T, Code) {
	if f.broken {
		var none T
		return none, ProtocolError
	}
	return call, 0
}

// withAuth adds the check of id and token to a call that is not malformed.
func withAuth[T interface{ check() Code }](call T, c Code) (T, Code) {
	if c == 0 {
		c = call.check()
	}
	return call, c
}
