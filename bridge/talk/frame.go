package talk

import (
	"unsafe"

	"imctl/bridge/wire"
	"imctl/kv"
)

// Frame returns the frame of a dialogue for a user whose friend is with. It aliases d and with.
func Frame(d *kv.Dialogue, with string) wire.KeptDialogue {
	return wire.KeptDialogue{ID: d.ID, From: bytesOf(d.From), Payload: d.Payload, With: bytesOf(with), N: d.N, At: d.At,
		Re: d.Re, Reacts: d.Reacts, Edits: d.Edits, Deletes: d.Deletes, Edited: d.Edited, Deleted: d.Deleted}
}

// Frame returns the conversation as the answers to a login and to the call show it.
func (t *Talk) Frame() wire.Talk {
	w := wire.Talk{With: t.With, Last: t.Last, Got: t.Got, Read: t.Read, PeerGot: t.PeerGot, PeerRead: t.PeerRead,
		Pinned: t.Marks.Pinned(), Archived: t.Marks.Archived(), Muted: t.Marks.Muted()}
	if t.Entry != nil {
		entry := Frame(t.Entry, t.With)
		w.Entry = &entry
	}
	return w
}

// bytesOf returns the bytes of s, which must not be changed. Frames of dialogues are composed for every receiver.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
