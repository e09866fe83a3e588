package api

import (
	"context"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"imctl/bridge/answer"
	"imctl/bridge/delivery"
	"imctl/bridge/governor"
	"imctl/bridge/wire"
	"imctl/kv"
)

// filesPath is where a file is sent to. Files are below it.
const filesPath = "/im/files"

// Files configure how files are served.
type Files struct {
	Store *kv.Files // nil: the calls for files do not exist
	Max   int64     // bytes of a file
	Quota int64     // bytes of all files that a user has sent
	// Understood reports whether all nodes can read dialogues with files. nil: they can.
	Understood func() bool
}

// Times of an upload. A client that sends less than deadlinePart in partTimeout is cut off. An upload ends after
// uploadTimeout, before the sweep would remove it as interrupted.
const (
	deadlinePart  = 64 << 10
	partTimeout   = 30 * time.Second
	uploadTimeout = 30 * time.Minute
	// refusedTimeout bounds how long the rest of a refused upload is read: a browser shows no answer before it has sent
	// the body.
	refusedTimeout = 10 * time.Second
	// chunkTimeout bounds how long a client may take for a chunk of a file that it reads.
	chunkTimeout = time.Minute
)

// errOldNodes: a node of an older version could not read a dialogue with a file.
var errOldNodes = errors.New("nodes of an older version cannot read dialogues with files")

// uploadFields declare the query of an upload, besides id and token.
var uploadFields = []wire.Field{
	{Name: "with", Empty: wire.FriendEmpty},
	{Name: "name", Max: wire.MaxFileName, Empty: wire.ProtocolError},
	{Name: "type", Max: wire.MaxFileType},
	{Name: "width", Kind: wire.Number, Least: 1, Most: maxPixels},
	{Name: "height", Kind: wire.Number, Least: 1, Most: maxPixels},
	{Name: "seconds", Max: 16},
}

const (
	maxPixels  = 1 << 20
	maxSeconds = 1 << 20
	anyType    = "application/octet-stream"
)

// shownTypes are the types that a file is served with: those that a browser shows and does not execute. All others are
// served as application/octet-stream.
var shownTypes = map[string]bool{
	"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true, "image/avif": true,
	"audio/mpeg": true, "audio/mp4": true, "audio/ogg": true, "audio/webm": true, "audio/wav": true, "audio/aac": true, "audio/flac": true,
	"video/mp4": true, "video/ogg": true, "video/webm": true,
}

// reservations are the bytes of uploads under way, by user: they are not stored yet, and count against the quota.
type reservations struct {
	mu     sync.Mutex
	byUser map[string]int64
}

// take reserves n bytes if the user has that much room besides its other reservations. The caller must call free.
func (r *reservations) take(user string, n, room int64) (free func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byUser[user]+n > room {
		return nil, false
	}
	if r.byUser == nil {
		r.byUser = make(map[string]int64)
	}
	r.byUser[user] += n
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.byUser[user] -= n; r.byUser[user] == 0 {
			delete(r.byUser, user)
		}
	}, true
}

// fileRequest parses the query of a request about files, with the token of its Authorization header.
func (a *API) fileRequest(r *http.Request, fields []wire.Field) (*request, wire.Code) {
	query := r.URL.RawQuery
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		query += "&token=" + url.QueryEscape(strings.TrimSpace(token))
	}
	q := &request{address: governor.ClientKey(r, a.opts.TrustedProxies)}
	var code wire.Code
	q.Values, code = wire.ParseQuery(query, append(wire.AuthFields[:len(wire.AuthFields):len(wire.AuthFields)], fields...), a.limits())
	return q, code
}

// caller authorizes a request about files, and counts it.
func (a *API) caller(ctx context.Context, q *request) error {
	if err := a.authorize(ctx, q); err != nil {
		return err
	}
	return a.opts.Governor.AllowCall(q.me.ID)
}

// serveUpload stores the file in the body of a request.
func (a *API) serveUpload(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	var uploaded result
	err := error(wire.ProtocolError)
	switch {
	case r.Method != http.MethodPost:
	case a.opts.Away():
		err = answer.ErrAway
	default:
		err = a.pass(func() (err error) {
			uploaded, err = a.upload(w, r)
			return err
		})
	}
	if err != nil && r.Context().Err() != nil {
		return // the client has gone
	}
	code := a.observe("upload", err, time.Since(started))
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(chunkTimeout)) // an error: there is no deadline
	if err == nil {
		answer.Write(w, http.StatusOK, uploaded.Append(nil))
		return
	}
	w.Header().Set("Connection", "close") // the rest of the body is not read
	answer.SetRetryAfter(w, err)
	answer.WriteCode(w, answer.StatusOf(err), code)
}

// upload checks and stores a file.
func (a *API) upload(w http.ResponseWriter, r *http.Request) (result, error) {
	q, code := a.fileRequest(r, uploadFields)
	if code != 0 {
		return nil, code
	}
	ctx, cancel := context.WithTimeout(r.Context(), uploadTimeout)
	defer cancel()
	if err := a.caller(ctx, q); err != nil {
		return nil, err
	}
	done, err := a.opts.Governor.Uploading(q.me.ID)
	if err != nil {
		return nil, err
	}
	defer done()
	body := &timedReader{Reader: r.Body, control: http.NewResponseController(w)}
	if err := body.extend(partTimeout); err != nil {
		return nil, err
	}
	file, err := a.admitFile(ctx, q, r.ContentLength)
	if err == nil {
		err = a.storeFile(ctx, w, body, r.ContentLength, file)
	}
	if err != nil && !body.failed && body.extend(refusedTimeout) == nil {
		_, _ = io.CopyN(io.Discard, r.Body, a.opts.Files.Max) // an error ends it as well
	}
	if err != nil {
		return nil, err
	}
	return wire.NewUploaded(file.JSON()), nil
}

// admitFile returns the file of an upload as its query describes it.
func (a *API) admitFile(ctx context.Context, q *request, length int64) (*kv.File, error) {
	if code := q.Check(); code != 0 {
		return nil, code
	}
	f := &kv.File{Name: safeName(q.Get("name")), Type: anyType, From: q.me.ID, To: q.Get("with")}
	if given := q.Get("type"); given != "" {
		if base, _, err := mime.ParseMediaType(given); err != nil || !strings.Contains(base, "/") {
			return nil, wire.ProtocolError
		}
		f.Type = given
	}
	width, _ := q.Number("width")
	height, _ := q.Number("height")
	f.Width, f.Height = int(width), int(height)
	if given := q.Get("seconds"); given != "" {
		seconds, err := strconv.ParseFloat(given, 64)
		if err != nil || !(seconds >= 0 && seconds <= maxSeconds) {
			return nil, wire.ProtocolError
		}
		f.Seconds = math.Round(seconds*1000) / 1000
	}
	if length > a.opts.Files.Max {
		return nil, answer.ErrTooLarge
	}
	if u := a.opts.Files.Understood; u != nil && !u() {
		return nil, errOldNodes
	}
	roster, _, err := a.opts.Store.Rosters.Get(ctx, f.From)
	if err != nil {
		return nil, err
	}
	// A blocked sender must not learn of it. Its file is stored, and the friend sees no dialogue that names it.
	if !delivery.RelationOf(roster, f.To).MaySend() {
		return nil, wire.NotFriends
	}
	return f, a.opts.Store.Writable()
}

// storeFile stores the bytes of a file within the quota of its sender. length is that of the body, -1 if unknown.
func (a *API) storeFile(ctx context.Context, w http.ResponseWriter, body *timedReader, length int64, f *kv.File) error {
	o := &a.opts.Files
	used, err := o.Store.Used(ctx, f.From)
	if err != nil {
		return err
	}
	most := length
	if length < 0 {
		most = min(o.Max, max(0, o.Quota-used))
	}
	free, ok := a.uploads.take(f.From, max(most, kv.FileShare), o.Quota-used)
	if !ok {
		return kv.ErrFilesFull
	}
	defer free()
	err = o.Store.Put(ctx, f, http.MaxBytesReader(w, io.NopCloser(body), most))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge) && most < o.Max:
		return kv.ErrFilesFull
	case errors.As(err, &tooLarge):
		return answer.ErrTooLarge
	case body.failed: // broken off, or too slow
		return wire.ProtocolError
	}
	return err
}

// timedReader reads the body of an upload, and moves the deadline of the connection.
type timedReader struct {
	io.Reader
	control *http.ResponseController
	read    int // since the deadline was moved
	failed  bool
}

func (r *timedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.read += n; r.read >= deadlinePart {
		r.read = 0
		if late := r.extend(partTimeout); late != nil && err == nil {
			err = late
		}
	}
	r.failed = err != nil && !errors.Is(err, io.EOF)
	return n, err
}

func (r *timedReader) extend(d time.Duration) error {
	err := r.control.SetReadDeadline(time.Now().Add(d))
	if errors.Is(err, http.ErrNotSupported) { // of a test without a connection
		return nil
	}
	return err
}

// safeName returns the name of a file without what could be taken for a folder, or could hide its extension.
func safeName(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '/' || c == '\\':
			return '_'
		case unicode.Is(unicode.Bidi_Control, c):
			return -1
		}
		return c
	}, name)
}

// serveFile serves the bytes of a file to its two users. A browser that opens it shows nothing of it as a page.
func (a *API) serveFile(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	started := time.Now()
	file, status, err := a.file(r)
	code := a.observe("file", err, time.Since(started))
	if err != nil {
		if r.Context().Err() == nil { // otherwise the client has gone
			answer.SetRetryAfter(w, err)
			answer.WriteCode(w, status, code)
		}
		return
	}
	h := w.Header()
	h.Set("Content-Type", shownType(file.Type))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": file.Name}))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "private, max-age=86400, immutable")
	h.Set("Vary", "Authorization")
	h.Set("ETag", `"`+file.ID+`"`)
	content := &pacedReader{ReadSeeker: a.opts.Files.Store.Open(r.Context(), file), control: http.NewResponseController(w)}
	http.ServeContent(w, r, "", file.At, content)
}

// file returns the file of a request, or else the HTTP status of the answer.
func (a *API) file(r *http.Request) (file *kv.File, status int, err error) {
	if a.opts.Away() {
		return nil, http.StatusServiceUnavailable, answer.ErrAway
	}
	q, code := a.fileRequest(r, nil)
	if code != 0 {
		return nil, http.StatusBadRequest, code
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	err = a.pass(func() (err error) {
		if err = a.caller(ctx, q); err != nil {
			return err
		}
		id := r.PathValue("file")
		if from, to, ok := a.opts.Files.Store.UsersOf(id); ok && q.me.ID != from && q.me.ID != to {
			return errNotTheirs
		}
		file, err = a.opts.Files.Store.Find(ctx, id)
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, errNotTheirs):
		status, err = http.StatusForbidden, wire.ProtocolError
	case errors.Is(err, kv.ErrNoFile):
		status, err = http.StatusNotFound, wire.ProtocolError
	case errors.Is(err, governor.ErrLimited):
		status = http.StatusTooManyRequests
	case errors.As(err, &code), errors.Is(err, kv.ErrTokenInvalid):
		status = http.StatusUnauthorized
	default:
		status = http.StatusServiceUnavailable
	}
	return file, status, err
}

// errNotTheirs: the file is one of two other users.
var errNotTheirs = errors.New("a file of other users")

// shownType returns the type that a file is served with.
func shownType(given string) string {
	if base, _, err := mime.ParseMediaType(given); err == nil && shownTypes[base] {
		return base
	}
	return anyType
}

// pacedReader gives the client time for each part of a file, instead of for all of it.
type pacedReader struct {
	io.ReadSeeker
	control *http.ResponseController
}

func (r *pacedReader) Read(p []byte) (int, error) {
	_ = r.control.SetWriteDeadline(time.Now().Add(chunkTimeout)) // an error: there is no deadline
	return r.ReadSeeker.Read(p)
}
