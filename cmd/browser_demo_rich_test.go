package cmd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"net/http"
	"strings"
	"testing"
)

// demoRich is a conversation with Sofia that has all kinds of dialogues: whether Ann sends it, the payload, and further
// fields of the frame. Numbers count from 1. The newest dialogue of it is in demoLines.
var demoRich = []struct {
	own           bool
	payload, more string
}{
	{false, "The hall is *ours* on Friday! Can you draw the programme?", ""},
	{true, "Gladly. How many pieces?", `,"re":1`},
	{false, "❤️", `,"reacts":2`},
	{false, "> How many pieces?\nFive, and one more if they clap for long enough.", ""},
	{true, "😂", `,"reacts":4`},
	{true, "The seats, as `rows × chairs`:\n```\nfor (let row = 1; row <= 12; row++) {\n\tplace(row, 'a chair for every person that comes, and one for the coat', {aisle: row % 4 === 0});\n}\n```", ""},
	{false, strings.Repeat("First we carry the chairs up, then the piano is tuned, and whoever has time makes coffee for all the others. ", 18), ""},
}

// richTalk fills the conversation between Ann and Sofia: with dialogues that change or name others, and with files.
func (d *demo) richTalk(t testing.TB, mine, hers *tunnel) {
	t.Helper()
	sofia := d.people["Sofia Lindqvist"]
	sent := 0
	say := func(own bool, payload, more string) {
		t.Helper()
		sent++
		id := fmt.Sprintf(`"id":"rich %d"`, sent)
		from, to := hers, d.ann
		if own {
			from, to = mine, sofia
		}
		from.send(t, fmt.Sprintf(`{%s,"toFriend":"%s","payload":%s%s}`, id, to.id, quote(payload), more))
		for !strings.Contains(from.next(t), id) {
		}
	}
	for _, one := range demoRich {
		say(one.own, one.payload, one.more)
	}
	file := func(name, kind string, content []byte, more ...string) {
		t.Helper()
		f, status := sofia.sendsFile(t, d.ann, name, bytes.NewReader(content), append([]string{"type", kind}, more...)...)
		if status != http.StatusOK {
			t.Fatalf("upload of %s: status %d, %+v", name, status, f)
		}
		say(false, name, `,"file":"`+f.id()+`"`)
	}
	file("The way up.jpg", "image/jpeg", landscape(t, 960, 640), "width", "960", "height", "640")
	file("Programme of the concert, second and last draft.pdf", "application/pdf", fileBytes(184_000))
	file("Voice", "audio/wav", tone(2), "seconds", "2")
	file("Second movement, from the rehearsal.wav", "audio/wav", tone(1))
}

// mark pins, archives or mutes a conversation of Ann.
func (d *demo) mark(t testing.TB, name, marks string) {
	t.Helper()
	body := fmt.Sprintf(`{"id":"%s","token":"%s","with":"%s",%s}`, d.ann.id, d.ann.token, d.people[name].id, marks)
	d.do(t, 0, http.MethodPost, "/im/dialogues/mark", body).want(t, "mark "+marks, replyBody(200))
}

// landscape draws three ridges below an evening sky, as a JPEG.
func landscape(t testing.TB, width, height int) []byte {
	t.Helper()
	ridges := []struct {
		top, height, waves, shift float64
		c                         color.RGBA
	}{
		{.48, .16, 2.2, .4, color.RGBA{142, 122, 168, 255}},
		{.62, .14, 3.1, 1.7, color.RGBA{94, 84, 136, 255}},
		{.78, .10, 2.4, 3.9, color.RGBA{48, 46, 92, 255}},
	}
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for x := range width {
		u := float64(x) / float64(width)
		for y := range height {
			v := float64(y) / float64(height)
			c := color.RGBA{uint8(120 + 135*v), uint8(140 + 60*v), uint8(205 - 60*v), 255}
			if math.Hypot((u-.68)*1.5, v-.42) < .085 {
				c = color.RGBA{255, 241, 208, 255}
			}
			for _, r := range ridges {
				wave := math.Sin(u*r.waves*math.Pi+r.shift) + .35*math.Abs(math.Sin(u*r.waves*9+r.shift))
				if v > r.top-r.height*wave/2 {
					c = r.c
				}
			}
			m.SetRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 88}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tone is a sound of some seconds, as a WAV file of 8 bits and 8 kHz.
func tone(seconds int) []byte {
	n := 8000 * seconds
	b := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, uint32(36+n))...)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	for i := range n {
		b = append(b, uint8(128+40*math.Sin(float64(i)*2*math.Pi*440/8000)))
	}
	return b
}
