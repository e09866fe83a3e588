package cmd

import (
	"bufio"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"imctl/bridge/admin"
)

// mattermostLine is a line of Mattermost's bulk format. All other fields and types are not imported.
type mattermostLine struct {
	Type          string             `json:"type"`
	Version       int                `json:"version"`
	User          *mattermostUser    `json:"user"`
	DirectChannel *mattermostChannel `json:"direct_channel"`
}

type mattermostUser struct {
	Username  string `json:"username"`
	Email     string `json:"email"`
	Password  string `json:"password"` // in files that a program wrote for Mattermost: its own exports have none
	Nickname  string `json:"nickname"`
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	Position  string `json:"position"`
	DeleteAt  int64  `json:"delete_at"`
}

type mattermostChannel struct {
	Members      []string `json:"members"`
	Participants []struct {
		Username string `json:"username"`
	} `json:"participants"` // of newer versions
}

// readMattermost reads users, and friendships from direct channels of two users. It skips everything else.
func readMattermost(in *bufio.Reader, s *importSource, yield func(importEntry) error) error {
	first := true
	return eachLine(in, s.most, func(line int, text []byte, tooLong bool) error {
		var l mattermostLine
		if tooLong { // a user is never so long, but a post with its replies may be
			return yield(importEntry{at: place{line: line}, skipped: map[string]int{"long line": 1}})
		}
		if !utf8.Valid(text) {
			return yield(invalid(line, "not valid UTF-8"))
		}
		if err := json.Unmarshal(text, &l); err != nil {
			return yield(invalid(line, "%s", jsonProblem(err)))
		}
		if first && (l.Type != "version" || l.Version != 1) {
			return yield(invalid(line, "the first line must have the type version, and the version 1"))
		}
		first = false
		e := importEntry{at: place{line: line}, size: len(text)}
		switch {
		case l.Type == "version":
			return nil
		case l.Type == "user" && l.User == nil, l.Type == "direct_channel" && l.DirectChannel == nil, l.Type == "":
			e.err = errors.New("type without the object of that name")
		case l.Type == "user":
			e.Record = l.User.record()
		case l.Type == "direct_channel":
			if e.Record, e.bonds = l.DirectChannel.record(); !e.bonds {
				e.skipped = map[string]int{"direct channel of more or fewer than two users": 1}
			}
		default:
			e.skipped = map[string]int{printable(l.Type): 1}
		}
		return yield(e)
	})
}

// jsonProblem returns the text of an error of a decoder. It quotes keys, never values.
func jsonProblem(err error) string {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return wrongType.Field + " must be of type " + wrongType.Type.String()
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

func (u *mattermostUser) record() admin.Record {
	name := u.Nickname
	if strings.TrimSpace(name) == "" {
		name = strings.TrimSpace(u.FirstName + " " + u.LastName)
	}
	return admin.Record{Account: u.Username, Password: u.Password, Mail: u.Email, Name: name, Sign: u.Position, Disabled: u.DeleteAt != 0}
}

// record returns a friendship of two users, if the channel is one.
func (c *mattermostChannel) record() (r admin.Record, ok bool) {
	members := c.Members
	if len(members) == 0 {
		for _, p := range c.Participants {
			members = append(members, p.Username)
		}
	}
	if len(members) != 2 || members[0] == members[1] {
		return r, false
	}
	return admin.Record{Account: members[0], Friends: friendsByAccount(members[1:])}, true
}
