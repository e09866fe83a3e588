package cmd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"math"
	"net/http"
	"strings"
	"testing"
)

// demo is a server with people and conversations like those of a real one.
type demo struct {
	*world
	ann    *member
	people map[string]*member
}

// demoFriends are Ann's friends. A name with a picture has two colors.
var demoFriends = []struct {
	name, sign string
	colors     [2]color.RGBA
}{
	{"Maya Okafor", "Up the hill, down the hill", [2]color.RGBA{{255, 196, 118, 255}, {102, 51, 40, 255}}},
	{"Jonas Weber", "Klettern, Kaffee, Kontrabass", [2]color.RGBA{{120, 200, 220, 255}, {40, 70, 130, 255}}},
	{"Sofia Lindqvist", "", [2]color.RGBA{{250, 190, 205, 255}, {140, 50, 95, 255}}},
	{"יעל כהן", "תמיד בדרך", [2]color.RGBA{}},
	{"Priya Raman", "Reading again", [2]color.RGBA{{200, 180, 250, 255}, {85, 55, 150, 255}}},
	{"陈晓明", "慢慢来", [2]color.RGBA{}},
	{"Luca Moretti", "", [2]color.RGBA{}},
	{"Bartholomäus Featherstonehaugh-Wolfeschlegelstein", "A long name, and an even longer line about himself that does not fit", [2]color.RGBA{}},
	{"Tom Baker", "Bread, mostly", [2]color.RGBA{{200, 225, 160, 255}, {60, 95, 45, 255}}},
}

// demoLines are dialogues, oldest first: the friend, whether Ann says it, and the text.
var demoLines = []struct {
	friend string
	own    bool
	text   string
}{
	{"Tom Baker", true, "Two loaves for Saturday, please"},
	{"Luca Moretti", false, "👍"},
	{"陈晓明", false, "明天一起吃饭吗？"},
	{"Priya Raman", false, "Finished it! The ending is not at all what I thought, you were right about the brother."},
	{"יעל כהן", false, "נתראה מחר? Bring the map 🗺️"},
	{"Sofia Lindqvist", false, "Rehearsal moved to 7"},
	{"Jonas Weber", false, "Seil habe ich"},
	{"Jonas Weber", false, "Und Kreide!"},
	{"Maya Okafor", true, "Hey! Did you get home alright?"},
	{"Maya Okafor", false, "I did, thanks 😊 Slept like a stone."},
	{"Maya Okafor", true, "Look at this one: https://example.org/routes/north-face"},
	{"Maya Okafor", false, "Oh nice."},
	{"Maya Okafor", false, "A lot steeper than it looked on Saturday, though. Do you think we can manage it before the autumn, or shall we take the left one first?"},
	{"Maya Okafor", true, "Left one first, then we’ll see."},
	{"Maya Okafor", false, "🎉🧗‍♀️"},
	{"Maya Okafor", true, "Thursday, same time as always?"},
	{"Maya Okafor", false, "Perfect. I’ll bring the long rope."},
}

func newDemo(t testing.TB) *demo {
	t.Helper()
	d := &demo{world: newWorld(t, start(t)), people: make(map[string]*member)}
	d.ann = d.person(t, "Ann Lee", "", portrait(color.RGBA{170, 190, 250, 255}, color.RGBA{70, 60, 150, 255}))
	mine, _ := d.ann.keeps(t)
	sessions := make(map[string]*tunnel)
	for _, f := range demoFriends {
		picture := ""
		if f.colors[0].A > 0 {
			picture = portrait(f.colors[0], f.colors[1])
		}
		p := d.person(t, f.name, f.sign, picture)
		p.call(t, "request", "to", d.ann.id).want(t, "request", replyBody(200))
		d.ann.call(t, "add", "from", p.id, "name", f.name).want(t, "add", replyBody(200))
		p.call(t, "add", "from", d.ann.id, "name", "Ann").want(t, "add", replyBody(200))
		sessions[f.name], _ = p.keeps(t)
	}
	for i, line := range demoLines {
		if line.text == "Rehearsal moved to 7" {
			d.richTalk(t, mine, sessions[line.friend])
		}
		from, to := sessions[line.friend], d.ann
		if line.own {
			from, to = mine, d.people[line.friend]
		}
		id := `"line ` + string(rune('a'+i)) + `"`
		from.send(t, dialogue(id, to.id, quote(line.text)))
		for !strings.Contains(from.next(t), `"id":`+id) {
		}
	}
	for _, name := range []string{"Nora Quinn", "Ben"} {
		p := d.person(t, name, "", "")
		p.call(t, "request", "to", d.ann.id, "note", "We met at Sofia’s concert on Friday. "+name).want(t, "request", replyBody(200))
	}
	d.mark(t, "Maya Okafor", `"pinned":true`)
	d.mark(t, "Luca Moretti", `"muted":true`)
	d.mark(t, "Tom Baker", `"archived":true`)
	mine.close(t)
	for i, f := range demoFriends {
		if i%3 == 2 {
			sessions[f.name].close(t)
		}
	}
	return d
}

// person registers and logs in a user with a name and a picture.
func (d *demo) person(t testing.TB, name, sign, picture string) *member {
	t.Helper()
	p := &member{w: d.world, account: name, password: passwordOf(name)}
	body, err := json.Marshal(map[string]string{"account": name, "password": p.password, "mail": "mail@example.org", "sign": sign, "picture": picture})
	if err != nil {
		t.Fatal(err)
	}
	d.do(t, 0, http.MethodPost, "/im/register", string(body)).want(t, "registration of "+name, replyBody(200))
	p.login(t)
	p.tunnel.close(t)
	d.people[name] = p
	return p
}

// portrait draws a head and shoulders in two colors.
func portrait(light, dark color.RGBA) string {
	const side = 160
	inside := func(x, y float64) bool {
		return math.Hypot(x-.5, y-.4) < .19 || math.Hypot((x-.5)/1.15, y-1.02) < .36
	}
	im := image.NewRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			part := 0.0
			for i := range 9 { // samples of this pixel, for smooth edges
				if inside((float64(x)+float64(i%3)/3)/side, (float64(y)+float64(i/3)/3)/side) {
					part += 1.0 / 9
				}
			}
			shade := 1 - .25*float64(y)/side
			mix := func(a, b uint8) uint8 { return uint8(float64(a)*shade*(1-part) + float64(b)*part) }
			im.SetRGBA(x, y, color.RGBA{mix(light.R, dark.R), mix(light.G, dark.G), mix(light.B, dark.B), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		panic(err) // a buffer takes everything
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())
}
