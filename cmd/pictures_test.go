package cmd

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"imctl/kv"
)

// pngPicture and jpegPicture are pictures as users set them.
var (
	pngPicture  = "img/base64:" + base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x1a\n"+strings.Repeat("p", 3000)))
	jpegPicture = "data:image/jpeg;base64," + base64.StdEncoding.EncodeToString([]byte("\xff\xd8\xff"+strings.Repeat("j", 40<<10)))
)

// withPicture returns a user with that picture.
func (w *world) withPicture(t testing.TB, picture string) *member {
	t.Helper()
	p := w.newMembers(t, 1)[0]
	p.setPicture(t, picture)
	return p
}

func (p *member) setPicture(t testing.TB, picture string) {
	t.Helper()
	p.w.do(t, 0, http.MethodPost, "/im/profile/update", fields("id", p.id, "token", p.token, "picture", picture)).want(t, "picture", replyBody(200))
}

// TestPictures: sessions with push see addresses of images, which the server serves while users have these images. All
// others see the pictures.
func TestPictures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ann, bob := w.newFriends(t)
	bob.setPicture(t, pngPicture)
	plain := ann.login(t)
	tunnel, pushed := ann.openTunnel(t, "push", "1")
	first := pushed.Friends[0].Picture
	if plain.Friends[0].Picture != pngPicture || !strings.HasPrefix(first, "/im/pictures/") || !strings.HasSuffix(first, "/"+bob.id) {
		t.Fatalf("the pictures are %.40s and %.90s", plain.Friends[0].Picture, first)
	}
	if found := ann.call(t, "found", "name", bob.account); !strings.Contains(found.body, pngPicture) {
		t.Errorf("found %.200s", found.body)
	}
	get := func(path string, status int) reply {
		t.Helper()
		r := w.do(t, 0, http.MethodGet, path, "")
		if r.status != status {
			t.Errorf("%s: status %d, want %d", path, r.status, status)
		}
		return r
	}
	r := get(first, 200)
	for name, want := range map[string]string{"Content-Type": "image/png", "Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; sandbox", "Content-Disposition": `attachment; filename="picture.png"`, "Cross-Origin-Resource-Policy": "same-origin"} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(r.body, "\x89PNG\r\n") {
		t.Errorf("the body is %.20q", r.body)
	}
	hash, _, _ := strings.Cut(strings.TrimPrefix(first, "/im/pictures/"), "/")
	for _, path := range []string{"/im/pictures/" + hash, "/im/pictures/" + hash + "/" + ann.id, "/im/pictures/" + hash + "/" + bob.id + "/x",
		"/im/pictures/" + strings.Repeat("0", 64) + "/" + bob.id, "/im/pictures/" + hash + "/*", "/im/pictures/"} {
		get(path, 404)
	}
	if r := w.do(t, 0, http.MethodPost, first, "{}"); r.status != 405 {
		t.Errorf("POST: status %d", r.status)
	}

	// A change reaches sessions by 301, and later logins.
	bob.setPicture(t, jpegPicture)
	frame := tunnel.next(t)
	second := firstGroup(frame, `"code":301.*"picture":"([^"]*)"`)
	if second == first || !strings.HasSuffix(second, "/"+bob.id) {
		t.Errorf("301 is %.200s", frame)
	}
	if _, again := ann.openTunnel(t, "push", "1"); again.Friends[0].Picture != second {
		t.Errorf("a later login shows %s, want %s", again.Friends[0].Picture, second)
	}
	get(first, 404)
	if r := get(second, 200); r.header.Get("Content-Type") != "image/jpeg" || len(r.body) != 3+40<<10 {
		t.Errorf("%d bytes of type %s", len(r.body), r.header.Get("Content-Type"))
	}
	// No other text becomes an address, and no long one is sent.
	svg := "data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString([]byte("<svg onload='alert(1)'/>"))
	for text, want := range map[string]string{svg: svg, strings.Repeat("x", 1025): "", "/im/logout": "", "img/base64:0101": "img/base64:0101"} {
		bob.setPicture(t, text)
		if _, a := ann.openTunnel(t, "push", "1"); a.Friends[0].Picture != want {
			t.Errorf("%.40s is shown as %.40s", text, a.Friends[0].Picture)
		}
	}
}

// TestLargeLogin: the answer to a login with many pictures is one message, whose dialogues follow it.
func TestLargeLogin(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){"plain": func(*Config) {}, "TLS": overTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, change)
			w := newWorld(t, s)
			ann, bob := w.newFriends(t)
			var users []kv.User
			roster := kv.UserSnapshot{ID: ann.id}
			for range 60 {
				u := kv.User{ID: kv.NewID(), Account: fresh("many"), Profile: kv.Profile{Name: "n", Picture: jpegPicture}}
				users = append(users, u)
				roster.Friends = append(roster.Friends, kv.Friend{ID: u.ID})
			}
			for _, r := range s.services().Accounts.Restore(t.Context(), users) {
				if r.Err != nil {
					t.Fatal(r.Err)
				}
			}
			if _, err := s.services().Friends.Restore(t.Context(), roster); err != nil {
				t.Fatal(err)
			}
			a := ann.login(t)
			if len(a.Friends) != 61 || a.Friends[60].Picture != jpegPicture || a.Token == "" {
				t.Errorf("%d friends", len(a.Friends))
			}
			if code := bob.talk(t, ann, "1"); code != 200 {
				t.Errorf("a dialogue is answered %d", code)
			}
			if _, pushed := ann.openTunnel(t, "push", "1"); len(pushed.Friends) != 61 || !strings.HasPrefix(pushed.Friends[60].Picture, "/im/pictures/") {
				t.Errorf("with push: %d friends", len(pushed.Friends))
			}
		})
	}
}
