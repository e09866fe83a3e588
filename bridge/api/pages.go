package api

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"imctl/bridge/www"
)

// contentPolicy lets the page load and talk to this server only. Its one policy of trusted types is for the address of the
// service worker.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
	"connect-src 'self'; font-src 'self'; media-src 'self' data: blob:; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types imctl"

// permissions lets the page record voice messages and take photos, after the browser has asked its user. A frame of
// another origin gets neither.
const permissions = "camera=(self), microphone=(self), geolocation=()"

// hashPrefix begins the directory under which each file of the page has an address that changes with the page. The
// hash is that of all files, so relative imports lead to modules of the same version.
const hashPrefix = "_"

// Caching of files by their names, which a browser checks each time, and by an address with the hash.
const (
	cacheChecked = "no-cache"
	cacheForever = "public, max-age=31536000, immutable"
)

// site is the page. Its files are part of the binary, so all servers of a process share the compressed ones.
var site = sync.OnceValue(func() *pageTree { return newPageTree(www.FS()) })

// pageTree has the files of a page.
type pageTree struct {
	files map[string]*pageFile
	hash  string
}

// newPageTree reads a small tree.
func newPageTree(tree fs.FS) *pageTree {
	p := &pageTree{files: make(map[string]*pageFile)}
	all := sha256.New()
	bodies := make(map[string][]byte)
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error { // in lexical order
		if err != nil || d.IsDir() {
			return err
		}
		bodies[name], err = fs.ReadFile(tree, name)
		fmt.Fprintf(all, "%s %d\n", name, len(bodies[name]))
		all.Write(bodies[name])
		return err
	})
	if err != nil {
		panic(err) // the tree is part of the binary
	}
	p.hash = hex.EncodeToString(all.Sum(nil)[:8])
	if bodies[www.WorkerFile] != nil {
		if bodies[www.WorkerFile], err = www.Worker(tree, p.hash, p.addresses(bodies)); err != nil {
			panic(err)
		}
	}
	for name, body := range bodies {
		if path.Ext(name) == ".html" {
			body = hashed.ReplaceAll(body, []byte(`$1="`+hashPrefix+p.hash+`/$2"`))
		}
		p.files[name] = newPageFile(name, body)
	}
	return p
}

// addresses returns the addresses at which the page loads its files.
func (p *pageTree) addresses(bodies map[string][]byte) (all []string) {
	for name := range bodies {
		switch {
		case name == www.WorkerFile:
		case path.Ext(name) == ".js" || path.Ext(name) == ".css":
			all = append(all, hashPrefix+p.hash+"/"+name)
		default:
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// hashed matches the links of chat.html to files that it loads by their address with the hash. Icons and the manifest
// keep their addresses, since browsers remember them for an installed page.
var hashed = regexp.MustCompile(`(href|src)="((?:js/)?[\w/]+\.(?:js|css))"`)

// find returns the file at a path, and how long a browser may keep it. A path with the hash of another version has no
// file: modules of two versions must not meet.
func (p *pageTree) find(name string) (f *pageFile, caching string) {
	if rest, ok := strings.CutPrefix(name, hashPrefix); ok {
		hash, name, _ := strings.Cut(rest, "/")
		if hash != p.hash {
			return nil, ""
		}
		return p.files[name], cacheForever
	}
	return p.files[name], cacheChecked
}

// ServeHTTP serves a file.
func (p *pageTree) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	f, caching := p.find(strings.TrimPrefix(r.URL.Path, "/"))
	if f == nil {
		h.Set("Cache-Control", "no-store") // another node may have this version
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", permissions)
	h.Set("Cache-Control", caching)
	h.Set("Content-Type", f.mime)
	body := f.plain
	if f.encodings != nil {
		h.Set("Vary", "Accept-Encoding")
		accepted := strings.Join(r.Header.Values("Accept-Encoding"), ",")
		for _, e := range f.encodings {
			if accepts(accepted, e.name) {
				body = e.get()
				h.Set("Content-Encoding", e.name)
				break
			}
		}
	}
	h.Set("ETag", body.etag)
	if matches(r.Header.Values("If-None-Match"), body.etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body.bytes)))
	_, _ = w.Write(body.bytes) // an error means that the client has gone
}

// redirect sends a browser to an address relative to that of the request: a proxy may serve the page below another path.
// http.Redirect would make the address absolute.
func redirect(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	})
}

// matches reports whether one of the lists of an If-None-Match has the tag. A proxy that compresses marks tags as weak.
func matches(lists []string, etag string) bool {
	for tag := range strings.SplitSeq(strings.Join(lists, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// accepts reports whether an Accept-Encoding has a coding that it does not refuse by q=0.
func accepts(header, coding string) bool {
	for item := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(item, ";")
		if !strings.EqualFold(strings.TrimSpace(name), coding) {
			continue
		}
		weight, found := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(parameters), " ", ""), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !found || err == nil && q > 0
	}
	return false
}

// typeOf returns the type of a file. It uses the machine's tables last: they may say text/plain for a module.
func typeOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".webmanifest":
		return "application/manifest+json"
	default:
		if t := mime.TypeByExtension(ext); t != "" {
			return t
		}
		return "application/octet-stream"
	}
}
