package hook

import (
	"bytes"
	"encoding/json"
	"slices"

	"imctl/bridge/wire"
)

// codes are the codes of a refusal, for each kind: those that the server itself may answer. The first is the default.
var codes = [kinds][]wire.Code{
	Dialogue: {wire.NotFriends, wire.ProtocolError, wire.DialogueIDEmpty, wire.SendFailed, wire.FriendIDEmpty, wire.PayloadEmpty},
	Register: {wire.ProtocolError, wire.InternalError, wire.AccountEmpty, wire.PasswordEmpty, wire.MailEmpty, wire.AccountExists},
	Request:  {wire.ProtocolError, wire.InternalError, wire.AlreadyFriends, wire.FriendNotExists},
}

var passes = []byte(`{"action":"pass"}`)

// parseVerdict parses an answer. An empty one passes. ok is false for anything that a moderator may not answer.
func parseVerdict(k Kind, answer []byte) (v Verdict, ok bool) {
	if len(answer) == 0 || bytes.Equal(answer, passes) {
		return Verdict{}, true
	}
	var a struct {
		Action  string          `json:"action"`
		Payload json.RawMessage `json:"payload"`
		Code    *wire.Code      `json:"code"`
	}
	if json.Unmarshal(answer, &a) != nil {
		return Verdict{}, false
	}
	switch a.Action {
	case "pass":
		return Verdict{}, true
	case "replace":
		return Verdict{Action: Replace, Payload: a.Payload}, k != Register && isPayload(k, a.Payload)
	case "refuse":
		if a.Code == nil {
			a.Code = &codes[k][0]
		}
		return Verdict{Action: Refuse, Code: *a.Code}, slices.Contains(codes[k], *a.Code)
	case "drop":
		return Verdict{Action: Drop}, k != Register
	}
	return Verdict{}, false
}

// isPayload reports whether a client could have sent a replacement, by the rules of a dialogue or of a note.
func isPayload(k Kind, payload []byte) bool {
	if k == Request {
		_, code := wire.ParseBody(slices.Concat([]byte(`{"note":`), payload, []byte("}")), []wire.Field{{Name: "note", Kind: wire.Lines, Max: wire.MaxNote}}, wire.Limits{})
		return len(payload) > 0 && code == 0
	}
	frame := slices.Concat([]byte(`{"id":"x","toFriend":"x","payload":`), payload, []byte("}"))
	_, code := wire.ParseSend(frame)
	return len(payload) > 0 && code == 0
}
