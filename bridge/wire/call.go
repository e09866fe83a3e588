package wire

// An Auth identifies the caller by the id and the token of a login. Both are empty in a call by NATS.
type Auth struct {
	ID    string
	Token string
}

func (f *fields) auth() Auth {
	return Auth{ID: f.line("id", 0), Token: f.line("token", 0)}
}

// check checks the token first, as the protocol requires.
func (a Auth) check() Code {
	switch {
	case a.Token == "":
		return AuthEmpty
	case a.ID == "":
		return AccountIDEmpty
	}
	return 0
}

// The functions below parse a call from the query of its URL. Those whose names end in JSON parse the body of a call
// by NATS, which has no id and token. The code is 0 if the call may proceed, or else the first of [ProtocolError],
// [AuthEmpty] and [AccountIDEmpty] that applies. The call's own fields may still be empty. The protocol checks them
// after the token, so the caller calls Check then.

// A FoundCall searches for users by name.
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
	return checked(f, c)
}

// Check returns [NameEmpty] or 0.
func (c FoundCall) Check() Code {
	if c.Name == "" {
		return NameEmpty
	}
	return 0
}

// A RequestCall sends a friend request.
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
	return checked(f, c)
}

// Check returns [FriendEmpty] or 0.
func (c RequestCall) Check() Code {
	if c.To == "" {
		return FriendEmpty
	}
	return 0
}

// An AddCall accepts a friend request, or sets the alias of a friend that has none.
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
	return checked(f, c)
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
	return checked(f, c)
}

// Check returns [FriendEmpty] or 0.
func (c RemoveCall) Check() Code {
	if c.To == "" {
		return FriendEmpty
	}
	return 0
}

// ParseLogout parses the body of a logout, which has only id and token.
func ParseLogout(body []byte) (Auth, Code) {
	f := jsonFields(body, "id", "token")
	return withAuth(checked(f, f.auth()))
}

// checked returns call, or [ProtocolError] if its fields are malformed.
func checked[T any](f *fields, call T) (T, Code) {
	if f.malformed {
		var zero T
		return zero, ProtocolError
	}
	return call, 0
}

// withAuth checks id and token of a call that is not malformed.
func withAuth[T interface{ check() Code }](call T, c Code) (T, Code) {
	if c == 0 {
		c = call.check()
	}
	return call, c
}
