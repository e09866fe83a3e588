package talk

import (
	"imctl/bridge/wire"
	"imctl/kv"
)

// Frame returns a dialogue as a user sees it whose conversation is with another user. Its ID and Payload alias those of d.
func Frame(d *kv.Dialogue, with string) wire.KeptDialogue {
	return wire.KeptDialogue{ID: d.ID, From: []byte(d.From), Payload: d.Payload, With: []byte(with), N: d.N, At: d.At,
		Re: d.Re, Reacts: d.Reacts, Edits: d.Edits, Deletes: d.Deletes, Edited: d.Edited, Deleted: d.Deleted}
}

// Frame returns the conversation as its user sees it in the answer to a login.
func (t *Talk) Frame() wire.Talk {
	f := wire.Talk{With: t.With, Last: t.Last, Got: t.Got, Read: t.Read, PeerGot: t.PeerGot, PeerRead: t.PeerRead}
	if t.Entry != nil {
		entry := Frame(t.Entry, t.With)
		f.Entry = &entry
	}
	return f
}
