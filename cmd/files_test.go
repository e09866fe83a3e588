package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"imctl/kv"
)

// fileAnswer is the answer to an upload.
type fileAnswer struct {
	Code int
	File json.RawMessage
}

// id returns the id of the uploaded file.
func (f fileAnswer) id() string { return kv.FileID(f.File) }

// fileBytes returns bytes that do not compress.
func fileBytes(n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	b := make([]byte, n)
	_, _ = r.Read(b) // never fails
	return b
}

// sendsFile uploads a file to a friend.
func (p *member) sendsFile(t testing.TB, to *member, name string, body io.Reader, more ...string) (fileAnswer, int) {
	t.Helper()
	pairs := append([]string{"id", p.id, "with", to.id, "name", name}, more...)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.w.base(p.n)+"/im/files?"+query(pairs...), body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	answer, err := p.w.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var f fileAnswer
	if err := json.NewDecoder(answer.Body).Decode(&f); err != nil {
		t.Fatal(err)
	}
	return f, answer.StatusCode
}

// readsFile downloads a file. headers are pairs.
func (p *member) readsFile(t testing.TB, id string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.w.base(p.n)+"/im/files/"+id+"?"+query("id", p.id), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := p.w.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, b
}

// fileDialogue returns a frame that names a file.
func fileDialogue(id, to, payload, file string) string {
	return fmt.Sprintf(`{"id":%s,"toFriend":"%s","payload":%s,"file":"%s"}`, id, to, payload, file)
}

// TestFileBetweenFriends sends a file to a friend, who reads it whole and in parts. Nobody else reads it.
func TestFileBetweenFriends(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	a, b, ca, cb := newKeepers(t, w)
	c := w.newMember(t, 0)
	c.login(t)
	content := fileBytes(3*kv.FileChunk + 1000)
	f, status := a.sendsFile(t, b, "Ferien/\u202eä.jpg", bytes.NewReader(content), "type", "image/jpeg", "width", "640", "height", "480", "seconds", "2.5")
	want := fmt.Sprintf(`{"id":"%s","name":"Ferien_ä.jpg","type":"image/jpeg","size":%d,"width":640,"height":480,"seconds":2.5}`, f.id(), len(content))
	if status != 200 || f.Code != 200 || string(f.File) != want {
		t.Fatalf("the upload is answered %d %d %s, want %s", status, f.Code, f.File, want)
	}
	for _, p := range []*member{a, b} {
		answer, got := p.readsFile(t, f.id())
		if answer.StatusCode != 200 || !bytes.Equal(got, content) {
			t.Errorf("the file is read with the status %d, %d bytes", answer.StatusCode, len(got))
		}
		for key, want := range map[string]string{"Content-Type": "image/jpeg", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
			"Content-Disposition": `attachment; filename*=utf-8''Ferien_%C3%A4.jpg`, "Accept-Ranges": "bytes"} {
			if got := answer.Header.Get(key); got != want {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
	}
	for _, r := range [][2]int{{0, 9}, {kv.FileChunk - 5, kv.FileChunk + 5}, {3 * kv.FileChunk, len(content) - 1}} {
		answer, got := b.readsFile(t, f.id(), "Range", fmt.Sprintf("bytes=%d-%d", r[0], r[1]))
		if answer.StatusCode != http.StatusPartialContent || !bytes.Equal(got, content[r[0]:r[1]+1]) {
			t.Errorf("the range %v is answered %d, %d bytes", r, answer.StatusCode, len(got))
		}
	}
	if answer, _ := c.readsFile(t, f.id()); answer.StatusCode != http.StatusForbidden {
		t.Errorf("a third user is answered %d", answer.StatusCode)
	}
	if answer, _ := b.readsFile(t, strings.Replace(f.id(), f.id()[64:80], "0123456789abcdef", 1)); answer.StatusCode != http.StatusNotFound {
		t.Errorf("a file that does not exist is answered %d", answer.StatusCode)
	}

	ca.send(t, fileDialogue(`"1"`, b.id, `"a picture"`, f.id()))
	ca.wantKept(t, keptAnswer(`"1"`, 1))
	entry := `,"file":` + want
	cb.wantKept(t, keptEntry(`"1"`, a, `"a picture"`, a, 1, entry))
	b.history(t, a, 1, 1, []string{keptEntry(`"1"`, a, `"a picture"`, a, 1, entry)})
	// A file of other users, and one that does not exist.
	for _, frame := range []string{fileDialogue(`"2"`, b.id, `"p"`, f.id()+"0"), fileDialogue(`"2"`, b.id, `"p"`, "x"), `{"id":"2","toFriend":"` + b.id + `","payload":"p","file":1}`,
		`{"id":"2","toFriend":"` + b.id + `","payload":"p","edits":1,"file":"` + f.id() + `"}`} {
		ca.send(t, frame)
		ca.wantKept(t, replyFrame(`"2"`, 403))
	}
	cb.send(t, fileDialogue(`"2"`, a.id, `"p"`, f.id()))
	cb.wantKept(t, replyFrame(`"2"`, 403))

	ca.send(t, `{"id":"3","toFriend":"`+b.id+`","deletes":1}`)
	ca.wantKept(t, keptAnswer(`"3"`, 2))
	if answer, _ := b.readsFile(t, f.id()); answer.StatusCode != http.StatusNotFound {
		t.Errorf("the file of a deleted dialogue is answered %d", answer.StatusCode)
	}
	b.history(t, a, 1, 2, []string{keptEntry(`"1"`, a, `""`, a, 1, `,"deleted":true`), keptEntry(`"3"`, a, `""`, a, 2, `,"deletes":1`)})
}
