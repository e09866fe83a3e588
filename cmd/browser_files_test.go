package cmd

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pageFile is a file that a user gives to the page.
type pageFile struct {
	name, mime string
	body       []byte
}

// transfer is the expression of a DataTransfer with files, as a drop, a paste or a choice has it.
func transfer(files ...pageFile) string {
	var list strings.Builder
	for _, f := range files {
		fmt.Fprintf(&list, "data.items.add(new File([Uint8Array.from(atob(%s), (c) => c.charCodeAt(0))], %s, {type: %s}));",
			quote(base64.StdEncoding.EncodeToString(f.body)), quote(f.name), quote(f.mime))
	}
	return "(() => { const data = new DataTransfer(); " + list.String() + " return data; })()"
}

// chooses gives files to the button of the composer.
func (b *tab) chooses(files ...pageFile) {
	b.t.Helper()
	b.until("named('button', 'Attach files')")
	b.hook("const input = document.querySelector('.composer input[type=file]'); input.files = " + transfer(files...) +
		".files; input.dispatchEvent(new Event('change'))")
}

// ready waits until the tray has n files that can be sent.
func (b *tab) ready(n int) {
	b.t.Helper()
	b.until(fmt.Sprintf("count('.tray li') === %d && !has('.tray', 'Preparing')", n))
}

// drawing is a picture with a red corner at its top left, on blue.
func drawing(width, height int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.RGBA{B: uint8(100 + 155*x/width), G: uint8(200 * y / height), A: 255}
			if x < width/2 && y < height/2 {
				c = color.RGBA{R: 255, A: 255}
			}
			m.SetRGBA(x, y, c)
		}
	}
	return m
}

func pngOf(t testing.TB, name string, width, height int) pageFile {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, drawing(width, height)); err != nil {
		t.Fatal(err)
	}
	return pageFile{name, "image/png", b.Bytes()}
}

// cameraPhoto is a JPEG as a camera that was held upright writes it: turned, with the make of the camera in its metadata.
func cameraPhoto(t testing.TB, name string, width, height int) pageFile {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, drawing(width, height), nil); err != nil {
		t.Fatal(err)
	}
	const camera = "SECRETCAMERA\x00"
	exif := []byte("Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x02")
	exif = append(exif, "\x01\x0f\x00\x02\x00\x00\x00\x0d\x00\x00\x00\x26"...) // the make, at byte 38
	exif = append(exif, "\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"...) // turned to the right
	exif = append(exif, "\x00\x00\x00\x00"+camera...)
	segment := binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(len(exif)+2))
	body := append([]byte{0xff, 0xd8}, append(append(segment, exif...), b.Bytes()[2:]...)...)
	return pageFile{name, "image/jpeg", body}
}

// fileIDs returns the ids of the files of a conversation, in order, and the number of its dialogues.
func (f *keptFriends) fileIDs(t testing.TB) (ids []string, dialogues int) {
	t.Helper()
	r := f.do(t, 0, http.MethodGet, "/im/dialogues?"+query("id", f.cleo.id, "token", f.cleo.token, "with", f.bob.id), "")
	var answer struct {
		Dialogues []struct {
			File struct{ ID string }
		}
	}
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	for _, d := range answer.Dialogues {
		if d.File.ID != "" {
			ids = append(ids, d.File.ID)
		}
	}
	return ids, len(answer.Dialogues)
}

// bytesOf returns the bytes of a file as the friend gets them.
func (f *keptFriends) bytesOf(t testing.TB, id string) string {
	t.Helper()
	r := f.do(t, 0, http.MethodGet, "/im/files/"+id+"?"+query("id", f.cleo.id, "token", f.cleo.token), "")
	if r.status != http.StatusOK {
		t.Fatalf("file %s: status %d: %.200s", id, r.status, r.body)
	}
	return r.body
}

// TestPageSendsPictures sends pictures and another file. The pictures are turned as the camera says, shrunk and without
// metadata, and the friend sees, enlarges and saves them. The addresses of their bytes are given up.
func TestPageSendsPictures(t *testing.T) { eachBrowser(t, "en-US", testPageSendsPictures) }

func testPageSendsPictures(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	c.hook(`window.urls = new Set(); const make = URL.createObjectURL, revoke = URL.revokeObjectURL;
		URL.createObjectURL = (blob) => { const url = make(blob); urls.add(url); return url; };
		URL.revokeObjectURL = (url) => { urls.delete(url); revoke(url); }`)
	paper := pageFile{"plan <b>.pdf", "application/pdf", []byte("%PDF-1.4 a plan")}
	b.chooses(cameraPhoto(t, "beach.jpg", 300, 200), pngOf(t, "wide.png", 3000, 300), paper, pngOf(t, "wrong.png", 20, 20))
	b.ready(4)
	b.press("Remove wrong.webp")
	b.ready(3)
	b.say("From our holiday")
	b.until("count('.mine .state.read') === 3 && count('.tray') === 0")
	c.hears("From our holiday")
	c.until("has('.theirs .card', 'plan <b>.pdf') && has('.theirs .card', '15 byte')")
	b.until(row("You: plan <b>.pdf: From our holiday"))

	sizes := `[...document.querySelectorAll('.theirs .frame img')].map((e) => e.naturalWidth + 'x' + e.naturalHeight).join()`
	c.until(sizes + " === '200x300,2048x205'")
	ids, _ := f.fileIDs(t)
	if len(ids) != 3 {
		t.Fatalf("%d files, want 3", len(ids))
	}
	for _, id := range ids[:2] {
		if body := f.bytesOf(t, id); !strings.HasPrefix(body, "RIFF") || strings.Contains(body, "EXIF") || strings.Contains(body, "SECRETCAMERA") {
			t.Errorf("a picture is sent as %.16q, with metadata: %t", body, strings.Contains(body, "SECRETCAMERA"))
		}
	}

	c.pressOn("document.querySelector('.theirs .frame')")
	c.until("count('dialog.viewer .picture-stage img') === 1 && document.querySelector('.picture-stage img').naturalWidth === 200")
	c.press("Next picture")
	c.until("document.querySelector('.picture-stage img')?.naturalWidth === 2048")
	c.press("Actual size")
	c.until("document.querySelector('.picture-stage').scrollWidth >= 2048")
	c.press("Actual size")
	dir := t.TempDir()
	download(c, dir)
	c.press("Save file")
	eventually(t, "the picture is saved", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "wide.webp"))
		return err == nil && string(b) == f.bytesOf(t, ids[1])
	})
	c.key("\x1b")
	c.until("count('dialog') === 0")
	c.pressOn("document.querySelector('.theirs .card')")
	eventually(t, "the file is saved", func() bool {
		all, err := filepath.Glob(filepath.Join(dir, "plan*.pdf"))
		if err != nil || len(all) != 1 {
			return false
		}
		b, err := os.ReadFile(all[0])
		return err == nil && bytes.Equal(b, paper.body)
	})

	// The original is sent as a file.
	photo := cameraPhoto(t, "beach.jpg", 300, 200)
	b.chooses(photo)
	b.ready(1)
	b.pressOn("document.querySelector('.tray input')")
	b.until("has('.tray', 'beach.jpg')")
	b.press("Send")
	c.until("has('.theirs .card', 'beach.jpg')")
	if ids, _ = f.fileIDs(t); f.bytesOf(t, ids[3]) != string(photo.body) {
		t.Error("the original was changed")
	}

	c.hook("for (const url of [...urls]) if (!document.querySelector(`img[src='${url}']`)) urls.delete(url)") // of saved files
	c.hook("location.hash = ''")
	c.until("urls.size === 0 && count('.talk') === 0")
}

// TestPagePastesAndDrops checks what the page does with the clipboard, and with files that are dragged over it.
func TestPagePastesAndDrops(t *testing.T) { eachBrowser(t, "en-US", testPagePastesAndDrops) }

func testPagePastesAndDrops(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.talk(t, f.bob, f.cleo)
	b.until("named('button', 'Attach files')")
	picture := pngOf(t, "image.png", 40, 30)
	// event reports whether the browser would do what it does without the page.
	event := func(make, element string) bool {
		t.Helper()
		return ask[bool](b, "(() => { const data = "+transfer(picture)+"; return document.querySelector("+quote(element)+").dispatchEvent("+make+"); })()")
	}
	// Firefox makes the event without what the DataTransfer holds.
	const paste = "Object.defineProperty(new ClipboardEvent('paste', {bubbles: true, cancelable: true}), 'clipboardData', {value: data})"
	drag := func(kind string) string {
		return "new DragEvent(" + quote(kind) + ", {bubbles: true, cancelable: true, dataTransfer: data})"
	}

	if event(paste, ".composer textarea") {
		t.Error("a pasted picture is left to the browser")
	}
	b.ready(1)
	if event(paste, ".stage .scroll") {
		t.Error("a picture pasted beside the composer is left to the browser")
	}
	b.ready(2)
	if !event("(data.setData('text/plain', 'cells'), "+paste+")", ".composer textarea") {
		t.Error("the page takes text that is pasted with its picture")
	}
	b.ready(2)

	for _, kind := range []string{"dragover", "drop"} {
		if event(drag(kind), "nav") {
			t.Errorf("%s beside the conversation would open the file", kind)
		}
	}
	b.ready(2)
	if event(drag("dragenter"), ".stage .scroll") {
		t.Error("the conversation takes no drop")
	}
	b.until("has('.dropping', 'Drop to send to alias of')")
	event(drag("dragleave"), ".talk")
	b.until("count('.dropping') === 0")
	event(drag("dragover"), ".stage .scroll")
	if event(drag("drop"), ".stage .scroll") {
		t.Error("a dropped file would open in the tab")
	}
	b.until("count('.dropping') === 0")
	b.ready(3)
	b.hook("const there = location.hash; location.hash = ''; addEventListener('hashchange', () => { location.hash = there; }, {once: true})")
	b.until("named('textarea', 'Write a message')")
	b.ready(3)
	b.pressOn("document.querySelector('.composer textarea')")
	b.key("\r")
	b.until("count('.mine .frame img') === 3 && count('.mine .state.kept') === 3")
	if ids, n := f.fileIDs(t); len(ids) != 3 || n != 3 {
		t.Errorf("%d files in %d dialogues, want 3", len(ids), n)
	}
	b.until(row("You: Picture"))
}

// TestPageRefusesFiles: what cannot be sent is refused with words, and nothing is uploaded.
func TestPageRefusesFiles(t *testing.T) {
	t.Parallel()
	f := &keptFriends{world: newWorld(t, start(t, func(c *Config) { c.Files.MaxSize = 100 << 10 })), browser: chromium(t, "en-US")}
	f.bob, f.cleo = f.newFriends(t)
	f.bob.tunnel.close(t)
	f.cleo.tunnel.close(t)
	b := f.talk(t, f.bob, f.cleo)
	b.chooses(pageFile{"film.mp4", "video/mp4", make([]byte, 200<<10)}, pageFile{"nothing.txt", "text/plain", nil}, pageFile{"notes.txt", "text/plain", []byte("notes")})
	b.ready(1)
	b.until("has('.tray .fault', 'film.mp4 is too large: 205 kB. This server takes at most 102 kB.') && has('.tray .fault', 'nothing.txt is empty.')")
	b.press("Remove notes.txt")
	b.fill("Write a message", "Just words")
	b.until("count('.tray') === 0")
	b.say("Just words")
	b.state("Just words", "kept")
	if ids, n := f.fileIDs(t); len(ids) != 0 || n != 1 {
		t.Errorf("%d files in %d dialogues, want none in 1", len(ids), n)
	}

	none := start(t, func(c *Config) { c.Files.MaxSize = 0 })
	f.world = newWorld(t, none)
	f.bob, f.cleo = f.newFriends(t)
	f.bob.tunnel.close(t)
	f.cleo.tunnel.close(t)
	b = f.page(t, f.bob, desk)
	b.countCalls("/im/registration")
	b.open("alias of " + f.cleo.account)
	b.until("calls === 1")
	b.say("Words only")
	b.state("Words only", "kept")
	b.until("!named('button', 'Attach files') && !named('button', 'Record a voice message')")
}

// holdUploads keeps uploads back until release() is called in the page. They are in the list `held`.
const holdUploads = `window.held = []; const upload = XMLHttpRequest.prototype.send;
	XMLHttpRequest.prototype.send = function (body) { held.push(() => upload.call(this, body)); };
	window.release = () => { XMLHttpRequest.prototype.send = upload; for (const one of held.splice(0)) one(); }`

// TestPageUploads: a dialogue waits for the files before it. The user ends an upload, and one goes on after a reload.
func TestPageUploads(t *testing.T) { eachBrowser(t, "en-US", testPageUploads) }

func testPageUploads(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	b.hook(holdUploads)
	b.chooses(pngOf(t, "one.png", 30, 30), pngOf(t, "two.png", 40, 40))
	b.ready(2)
	b.say("Both")
	b.say("After both")
	b.until("held.length === 1 && count('.mine progress') === 2 && count('.mine') === 3")
	b.until("count('.mine .frame img') === 2")
	b.press("Cancel")
	b.until("count('.mine progress') === 1 && held.length === 2")
	b.hook("held.shift(); release()")
	c.hears("After both")
	c.until("count('.theirs .frame img') === 1 && [...document.querySelectorAll('.theirs')].map((e) => Boolean(e.querySelector('.frame'))).join() === 'true,false'")
	b.state("After both", "read")
	b.until("count('.mine progress') === 0 && count('.mine') === 2")

	b.hook(holdUploads)
	b.chooses(pngOf(t, "three.png", 50, 60), pageFile{"notes.txt", "text/plain", []byte("notes")})
	b.ready(2)
	b.say("Before the reload")
	b.say("Last")
	b.until("held.length === 1 && count('.mine progress') === 2")
	b.reload()
	c.hears("Last")
	c.until("[...document.querySelectorAll('.theirs')].map((e) => e.querySelector('.media button')?.className).join() === 'frame,,frame,card,'")
	b.until("count('.mine') === 5 && count('.mine .state.read') === 5")
	if ids, n := f.fileIDs(t); len(ids) != 3 || n != 5 {
		t.Errorf("%d files in %d dialogues, want 3 in 5", len(ids), n)
	}
}

// TestPageUploadSurvivesServer kills the server before it has a file: the upload begins again when the server is back.
func TestPageUploadSurvivesServer(t *testing.T) {
	eachBrowser(t, "en-US", testPageUploadSurvivesServer)
}

func testPageUploadSurvivesServer(t *testing.T, browser webBrowser) {
	data, log := filepath.Join(t.TempDir(), "data"), new(logBuffer)
	server := startProcess(t, data, log)
	ann := openTab(t, browser, "ann", server.url+pagePath, desk)
	bob := openTab(t, browser, "bob", server.url+pagePath, desk)
	ann.signUp("Ann")
	bob.signUp("Bob")
	befriend(ann, "Bob", bob, "Ann")
	ann.open("Bob")
	bob.open("Ann")
	ann.hook(holdUploads)
	ann.chooses(pngOf(t, "one.png", 30, 30))
	ann.ready(1)
	ann.say("A picture")
	ann.say("And words")
	ann.until("held.length === 1")
	server.kill(t)
	ann.sees("No connection.")
	ann.hook("release()")
	startProcess(t, data, log, "IMCTL_LISTEN="+strings.TrimPrefix(server.url, "http://"))
	bob.hears("And words")
	bob.until("count('.theirs .frame img') === 1 && count('.theirs') === 2")
	ann.state("A picture", "read")
	ann.until("count('.mine progress') === 0 && count('.mine') === 2")
}

// TestPageQuota: a file without space on the server fails with words, and the user removes it.
func TestPageQuota(t *testing.T) {
	t.Parallel()
	f := &keptFriends{world: newWorld(t, start(t, func(c *Config) { c.Files.Quota = MiB })), browser: chromium(t, "en-US")}
	f.bob, f.cleo = f.newFriends(t)
	f.bob.tunnel.close(t)
	f.cleo.tunnel.close(t)
	b := f.talk(t, f.bob, f.cleo)
	large := make([]byte, 700<<10)
	b.chooses(pageFile{"one.bin", "", large}, pageFile{"two.bin", "", large})
	b.ready(2)
	b.say("Two")
	b.say("After them")
	b.state("After them", "kept")
	b.until("count('.mine .state.failed') === 1 && has('.mine .failed', 'there is no space left for your files')")
	b.press("Remove")
	b.until("count('.mine') === 2 && count('.failed') === 0")
	b.reload()
	b.until("count('.mine .state.kept') === 2 && has('.mine .card', 'one.bin') && count('.mine') === 2")
}

// TestPageVoice records voice messages with the microphone that the browser pretends to have.
func TestPageVoice(t *testing.T) { inChromium(t, testPageVoice) }

func testPageVoice(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b, c := f.talk(t, f.bob, f.cleo), f.talk(t, f.cleo, f.bob)
	b.press("Record a voice message")
	b.until("has('.recording .time', '0:01')")
	b.press("Cancel recording")
	b.until("count('.recording') === 0")
	b.press("Record a voice message")
	b.until("has('.recording .time', '0:01')")
	b.key("\x1b")
	b.until("count('.recording') === 0")
	b.press("Record a voice message")
	b.until("has('.recording .time', '0:01')")
	b.press("Send recording")
	b.until("count('.mine .audio') === 1 && count('.mine .state.read') === 1")
	b.until(row("You: Voice message"))
	c.until("count('.theirs .audio') === 1")
	c.press("Speed")
	c.until("has('.speed', '1.5×')")
	c.press("Play")
	c.until("Number(document.querySelector('.theirs .audio input').value) > 0.5")
	c.until("named('button', 'Play')") // at the end
	ids, n := f.fileIDs(t)
	if len(ids) != 1 || n != 1 {
		t.Fatalf("%d files in %d dialogues, want 1", len(ids), n)
	}
	if body := f.bytesOf(t, ids[0]); !strings.Contains(body, "OpusHead") {
		t.Errorf("the recording is %.40q", body)
	}

	// A press that is held records until it ends, and is cancelled away from the button.
	press := func(kind string, x, y int) string {
		return fmt.Sprintf("document.querySelector('.mic').dispatchEvent(new PointerEvent(%s, {bubbles: true, clientX: innerWidth - %d, clientY: innerHeight - %d}))", quote(kind), x, y)
	}
	for range 2 {
		b.hook(press("pointerdown", 30, 30))
		b.until("has('.recording .time', '0:01')")
		b.hook(press("pointerup", 300, 300))
		b.until("count('.recording') === 0")
	}
	b.hook(press("pointerdown", 30, 30))
	b.until("has('.recording .time', '0:01')")
	b.hook(press("pointerup", 30, 30))
	b.until("count('.mine .audio') === 2 && count('.mine .state.read') === 2 && count('.mine') === 2")

	b.hook("navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'))")
	b.press("Record a voice message")
	b.until("has('.tray .fault', 'does not allow this page to use the microphone') && count('.recording') === 0")
}

// TestPageFileGone says in words that the server no longer has a file, and shows nothing of deleted dialogues.
func TestPageFileGone(t *testing.T) { anyBrowser(t, "en-US", testPageFileGone) }

func testPageFileGone(t *testing.T, browser webBrowser) {
	f := newKeptFriends(t, browser)
	b := f.talk(t, f.bob, f.cleo)
	b.chooses(pngOf(t, "one.png", 30, 30), pageFile{"notes.txt", "text/plain", []byte("notes")})
	b.ready(2)
	b.say("Two")
	b.until("count('.mine .state.kept') === 2")
	c := f.page(t, f.cleo, desk)
	c.hook("const f = fetch; window.fetch = (url, ...more) => (String(url).includes('/im/files/') ? Promise.resolve(new Response('{}', {status: 404})) : f(url, ...more))")
	c.open("alias of " + f.bob.account)
	c.until("has('.theirs .frame', 'This file is no longer kept.')")
	c.pressOn("document.querySelector('.theirs .card')")
	c.until("has('.theirs .card', 'This file is no longer kept.')")

	b.pressOn("document.querySelector('.mine .act')")
	b.press("Delete")
	b.press("Delete")
	b.until("count('.mine .frame') === 0 && has('.mine em', 'Message deleted')")
	c.until("count('.theirs .frame') === 0 && has('.theirs em', 'Message deleted')")
}
