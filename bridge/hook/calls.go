package hook

import (
	"encoding/json"
	"errors"
)

// ErrDropped: the call is answered with success and must not take effect.
var ErrDropped = errors.New("a moderator dropped it")

// Register asks whether an account may be registered, from the client's address. The error is the code of a refusal.
func (s *Service) Register(account, name, address string) error {
	if !s.Asks(Register) {
		return nil
	}
	v := s.ask(Register, s.opts.Prefix.HookRegister(), struct {
		V       int    `json:"v"`
		Account string `json:"account"`
		Name    string `json:"name"`
		Address string `json:"address"`
	}{1, account, name, address})
	if v.Action == Refuse {
		return v.Code
	}
	return nil
}

// Request asks whether a user may ask another one for friendship, and returns the note that the other one sees.
//
// Errors: ErrDropped, and the code of a refusal.
func (s *Service) Request(from, to, note string) (string, error) {
	if !s.Asks(Request) {
		return note, nil
	}
	v := s.ask(Request, s.opts.Prefix.HookRequest(from, to), struct {
		V    int    `json:"v"`
		From string `json:"from"`
		To   string `json:"to"`
		Note string `json:"note"`
	}{1, from, to, note})
	switch v.Action {
	case Refuse:
		return "", v.Code
	case Drop:
		return "", ErrDropped
	case Replace:
		err := json.Unmarshal(v.Payload, &note)
		return note, err
	}
	return note, nil
}
