package www

import (
	"bytes"
	"encoding/json"
	"image/png"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"testing/fstest"
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
	if m.ID == "" || m.Name == "" || m.Scope != "./" || m.Display != "standalone" || m.StartURL != "chat.html" {
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

// TestWorker: the service worker has all files of the page, and another version when any of them changes.
func TestWorker(t *testing.T) {
	t.Parallel()
	worker, err := Worker(FS())
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?m)^const FILES = (.*);$`).FindSubmatch(worker)
	var names []string
	if list == nil || json.Unmarshal(list[1], &names) != nil {
		t.Fatalf("the worker has no list of files: %.200s", worker)
	}
	for name := range read(t) {
		if got := slices.Contains(names, name); got != (name != WorkerFile) {
			t.Errorf("%s is listed: %t", name, got)
		}
	}
	source := []byte("const VERSION = '';\nconst FILES = [];\n")
	one, err1 := Worker(fstest.MapFS{WorkerFile: {Data: source}, "a": {Data: []byte("1")}})
	two, err2 := Worker(fstest.MapFS{WorkerFile: {Data: source}, "a": {Data: []byte("2")}})
	if err1 != nil || err2 != nil || bytes.Equal(one, two) || !bytes.Contains(one, []byte(`["a"]`)) {
		t.Errorf("workers of different files: %s and %s, %v, %v", one, two, err1, err2)
	}
}
