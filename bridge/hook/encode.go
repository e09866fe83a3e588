package hook

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strconv"

	"imctl/kv"
)

// appendToken appends the last word of the reply subject of a request.
func appendToken(dst []byte, n, round uint32) []byte {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], n)
	binary.BigEndian.PutUint32(b[4:], round)
	return hex.AppendEncode(dst, b[:])
}

// parseToken parses the last word of a reply subject.
func parseToken(token string) (n, round uint32, ok bool) {
	var b [8]byte
	if len(token) != hex.EncodedLen(len(b)) {
		return 0, 0, false
	}
	var room [16]byte
	if _, err := hex.Decode(b[:], append(room[:0], token...)); err != nil {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(b[:]), binary.BigEndian.Uint32(b[4:]), true
}

// appendDialogue appends the body of a question about a dialogue. Its id and payload are those of the frame, byte for
// byte.
func appendDialogue(b []byte, to string, d *kv.Dialogue) []byte {
	b = append(append(b, `{"v":1,"id":`...), d.ID...)
	b = append(append(b, `,"from":"`...), d.From...) // ids need no escaping
	b = append(append(b, `","to":"`...), to...)
	b = append(append(b, `","payload":`...), d.Payload...)
	for _, n := range [...]struct {
		key string
		n   uint64
	}{{`,"re":`, d.Re}, {`,"reacts":`, d.Reacts}, {`,"edits":`, d.Edits}, {`,"deletes":`, d.Deletes}} {
		if n.n != 0 {
			b = strconv.AppendUint(append(b, n.key...), n.n, 10)
		}
	}
	if len(d.File) > 0 {
		file, err := json.Marshal(string(d.File))
		if err != nil {
			panic(err) // a string always marshals
		}
		b = append(append(b, `,"file":`...), file...)
	}
	return append(b, '}')
}
