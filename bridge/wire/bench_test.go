package wire

import (
	"strings"
	"testing"
	"time"
)

func sendFrame(payload int) []byte {
	return []byte(`{"id":"1f","toFriend":"61810e422ec1f24f2175c05a631c9a8f","payload":"` + strings.Repeat("How are you? ", payload)[:payload] + `"}`)
}

// TestDialoguePathDoesNotAllocate covers the functions that run for every dialogue, up to a hundred thousand times a
// second.
func TestDialoguePathDoesNotAllocate(t *testing.T) {
	frame := sendFrame(128)
	buf := make([]byte, 0, 1024)
	s, _ := ParseSend(frame)
	dialogue := AppendDialogue(nil, s.ID, "f69f9777de910b9990e407cbedc243be", s.Payload)
	reply := AppendReply(nil, Success, s.ID)
	keep := append(sendFrame(128)[:len(frame)-1], `,"re":17}`...)
	kept := keptFrame()
	at := time.Now()
	got := []byte(`{"got":17,"with":"f69f9777de910b9990e407cbedc243be"}`)
	const friend = "f69f9777de910b9990e407cbedc243be"
	for name, f := range map[string]func() bool{
		"ParseSend":      func() bool { s, c := ParseSend(frame); return c == 0 && !s.IDEmpty() },
		"AppendDialogue": func() bool { return len(AppendDialogue(buf, s.ID, "f69f9777de910b9990e407cbedc243be", s.Payload)) > 0 },
		"ParseDialogue":  func() bool { _, ok := ParseDialogue(dialogue); return ok },
		"AppendReply":    func() bool { return len(AppendReply(buf, PeerOffline, s.ID)) > 0 },
		"ParseReply":     func() bool { _, ok := ParseReply(reply); return ok },
		"ParseTaken":     func() bool { return ParseTaken(reply) == Success },

		"ParseKeep":        func() bool { f, c := ParseKeep(keep); return c == 0 && f.Re == 17 },
		"ParseKeep of got": func() bool { f, c := ParseKeep(got); return c == 0 && f.N == 17 },
		"ParseKept":        func() bool { d, ok := ParseKept(kept); return ok && d.N == 17 },
		"KeptDialogue.Append": func() bool {
			return len(KeptDialogue{ID: s.ID, From: []byte(friend), With: []byte(friend), Payload: s.Payload, N: 17, At: at}.Append(buf)) > 0
		},
		"AppendKeptAnswer": func() bool { return len(AppendKeptAnswer(buf, s.ID, 17, at)) > 0 },
		"AppendDelivered":  func() bool { return len(AppendDelivered(buf, "f69f9777de910b9990e407cbedc243be", 17)) > 0 },
	} {
		ok := true
		if n := testing.AllocsPerRun(100, func() { ok = f() && ok }); n != 0 || !ok {
			t.Errorf("%s: %v allocations, want 0; succeeded: %t", name, n, ok)
		}
	}
}

func keptFrame() []byte {
	s, _ := ParseSend(sendFrame(128))
	const friend = "f69f9777de910b9990e407cbedc243be"
	return KeptDialogue{ID: s.ID, From: []byte(friend), Payload: s.Payload, With: []byte(friend), N: 17, At: time.Now()}.Append(nil)
}

func BenchmarkParseKeep(b *testing.B) {
	frame := append(sendFrame(128), ' ')
	b.ReportAllocs()
	for b.Loop() {
		if _, code := ParseKeep(frame); code != 0 {
			b.Fatal(code)
		}
	}
}

func BenchmarkParseKept(b *testing.B) {
	frame := keptFrame()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ParseKept(frame); !ok {
			b.Fatal("refused")
		}
	}
}

func BenchmarkKeptAppend(b *testing.B) {
	d, _ := ParseKept(keptFrame())
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		d.Append(buf)
	}
}

func BenchmarkParseSend(b *testing.B) {
	for name, size := range map[string]int{"128": 128, "64KiB": 64 << 10} {
		b.Run(name, func(b *testing.B) {
			frame := sendFrame(size)
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				if _, code := ParseSend(frame); code != 0 {
					b.Fatal(code)
				}
			}
		})
	}
}

func BenchmarkAppendDialogue(b *testing.B) {
	s, _ := ParseSend(sendFrame(128))
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		AppendDialogue(buf, s.ID, "f69f9777de910b9990e407cbedc243be", s.Payload)
	}
}

func BenchmarkParseDialogue(b *testing.B) {
	s, _ := ParseSend(sendFrame(128))
	dialogue := AppendDialogue(nil, s.ID, "f69f9777de910b9990e407cbedc243be", s.Payload)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ParseDialogue(dialogue); !ok {
			b.Fatal("refused")
		}
	}
}

func BenchmarkAppendReply(b *testing.B) {
	buf := make([]byte, 0, 1024)
	id := RawString(`"1f"`)
	b.ReportAllocs()
	for b.Loop() {
		AppendReply(buf, Success, id)
	}
}

func BenchmarkParseTaken(b *testing.B) {
	reply := AppendReply(nil, Success, nil)
	b.ReportAllocs()
	for b.Loop() {
		if ParseTaken(reply) != Success {
			b.Fatal("refused")
		}
	}
}

func BenchmarkLoginAppend(b *testing.B) {
	friends := make([]Friend, 200)
	for i := range friends {
		friends[i] = sunny
	}
	login := NewLogin(john, friends, nil, "2ab3a1db5cc70776319eb5bef385af79")
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = login.Append(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}
