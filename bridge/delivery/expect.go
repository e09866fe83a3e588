package delivery

// A login reads the roster of its user, and joins a moment later. While the cluster fails this moment may take seconds,
// and the commands that tell the node of changes find no user. So the lane takes note of them.

// expectation has the changes of a user's roster that arrive during logins of the user.
type expectation struct {
	logins  int
	changes []rosterChange
}

// rosterChange is what a roster says of another user since a revision.
type rosterChange struct {
	other    string
	now      Relation
	revision uint64
}

// applyTo applies the changes that are not in the roster of the user yet.
func (e *expectation) applyTo(u *User) {
	if e == nil {
		return
	}
	for _, c := range e.changes {
		u.ApplyRoster(c.other, c.now, c.revision)
	}
}

// Expect has the changes of a user's roster that arrive from now on applied by Join, to a roster that is read after
// Expect. The caller calls end after Join.
func (l *Lanes) Expect(user string) (end func()) { return l.of(user).expect(user) }

func (l *lane) expect(id string) (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.expected[id]
	if e == nil {
		e = new(expectation)
		l.expected[id] = e
	}
	e.logins++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if e.logins--; e.logins == 0 {
			delete(l.expected, id)
		}
	}
}

// ApplyRoster applies one change of a user's roster: what it says of another user since a revision. It returns the
// user, or nil if the user has no session on this node.
func (l *Lanes) ApplyRoster(user, other string, now Relation, revision uint64) *User {
	lane := l.of(user)
	lane.mu.Lock()
	defer lane.mu.Unlock()
	if e := lane.expected[user]; e != nil {
		e.changes = append(e.changes, rosterChange{other, now, revision})
	}
	u := lane.users[user]
	if u != nil {
		u.ApplyRoster(other, now, revision)
	}
	return u
}
