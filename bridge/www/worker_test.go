package www

import (
	"bytes"
	"encoding/json"
	"image/png"
	"io/fs"
	"path"
	"strconv"
	"testing"
)

// TestManifest checks what browsers want before they install a page.
func TestManifest(t *testing.T) {
	t.Parallel()
	text, err := fs.ReadFile(FS(), "manifest.webmanifest")
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		ID, Name, Scope, Display string
		StartURL                 string `json:"start_url"`
		Icons                    []struct{ Src, Sizes, Type, Purpose string }
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	// Without an id the browser uses start_url, which differs for each path of a proxy.
	if m.ID != "" || m.Name == "" || m.Scope != "./" || m.Display != "standalone" || m.StartURL != "chat.html" {
		t.Errorf("manifest %+v", m)
	}
	missing := map[string]bool{"192x192 ": true, "512x512 ": true, "512x512 maskable": true}
	for _, icon := range m.Icons {
		delete(missing, icon.Sizes+" "+icon.Purpose)
		body, err := fs.ReadFile(FS(), icon.Src)
		if err != nil {
			t.Error(err)
		}
		if path.Ext(icon.Src) != ".png" {
			continue
		}
		image, err := png.DecodeConfig(bytes.NewReader(body))
		if size := strconv.Itoa(image.Width) + "x" + strconv.Itoa(image.Height); err != nil || size != icon.Sizes {
			t.Errorf("%s is %s, %v, want %s", icon.Src, size, err, icon.Sizes)
		}
	}
	for icon := range missing {
		t.Errorf("there is no icon %s", icon)
	}
}

// TestWorker: the server puts the version and the addresses of the files into the service worker.
func TestWorker(t *testing.T) {
	t.Parallel()
	worker, err := Worker(FS(), "0123", []string{"_0123/js/main.js", "chat.html"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nconst VERSION = '0123';\n", "\nconst FILES = [\"_0123/js/main.js\",\"chat.html\"];\n"} {
		if !bytes.Contains(worker, []byte(want)) {
			t.Errorf("the worker has no line %q: %.300s", want, worker)
		}
	}
}
