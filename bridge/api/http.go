package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"imctl/bridge/answer"
	"imctl/bridge/governor"
	"imctl/bridge/picture"
	"imctl/bridge/recovery"
	"imctl/bridge/wire"
)

// pagePath is where the page is, and LoginPaths are where the tunnel is.
const pagePath = "/im/www/v1/"

// LoginPaths are the paths of logins.
var LoginPaths = []string{"/im/login", "/im/login/im/login"}

// Handler serves everything below /im/. Any other path is 404, except that / redirects to the page.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	for i := range a.calls {
		if c := &a.calls[i]; c.Path != "" {
			mux.Handle(c.Path, a.callHandler(c))
		}
	}
	for _, p := range LoginPaths {
		mux.Handle(p, a.opts.Tunnel)
	}
	mux.HandleFunc(picture.Path+"{hash}/{id}", a.servePicture)
	if a.opts.Files.Store != nil {
		mux.HandleFunc(filesPath, a.serveUpload)
		mux.HandleFunc(filesPath+"/{file}", a.serveFile)
	}
	if a.opts.OIDC != nil {
		mux.Handle(oidcPath, a.opts.OIDC.Handler())
	}
	mux.Handle(pagePath, http.StripPrefix(pagePath, site()))
	folder, version := path.Split(path.Clean(pagePath))
	mux.Handle(pagePath+"{$}", redirect("chat.html"))
	mux.Handle(path.Clean(pagePath), redirect(version+"/chat.html")) // the mux would add the slash by an absolute address
	mux.Handle(folder+"{$}", redirect(version+"/chat.html"))
	mux.Handle(path.Clean(folder), redirect(path.Base(folder)+"/"+version+"/chat.html"))
	mux.Handle("/{$}", redirect(strings.TrimPrefix(pagePath, "/")+"chat.html"))
	return a.guard(mux)
}

// guard sets the headers of every answer, and answers for a handler that panics.
func (a *API) guard(next http.Handler) http.Handler {
	calls := a.readable(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			defer answer.WriteCode(w, http.StatusOK, wire.InternalError)
			defer recovery.Log(a.opts.Logger, r.Method+" "+r.URL.Path)
			panic(p)
		}()
		a.opts.Origins.Note(r)
		switch err := a.admit(r); {
		case err != nil:
			a.readable(a.refuse(err)).ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, pagePath):
			next.ServeHTTP(w, r)
		default:
			calls.ServeHTTP(w, r)
		}
	})
}

// readable returns a handler that lets the pages of other origins read the answers of next: all pages those of public
// calls, and the pages of listed origins all others.
func (a *API) readable(next http.Handler) http.Handler {
	listed, public := a.opts.Origins.Calls(next), a.opts.Origins.Public(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.ContainsFunc(a.calls, func(c Call) bool { return c.Public && c.Path == r.URL.Path }) {
			public.ServeHTTP(w, r)
		} else {
			listed.ServeHTTP(w, r)
		}
	})
}

// refuse returns the handler of a request that admit refuses.
func (a *API) refuse(err error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.opts.Governor.Delay(r.Context(), governor.ClientKey(r, a.opts.TrustedProxies))
		answer.SetRetryAfter(w, err)
		answer.WriteCode(w, answer.StatusOf(err), answer.CodeOf(a.opts.Logger, "request", err))
	})
}

// admit counts a request and its connection for the client's address. Errors: governor.ErrLimited.
func (a *API) admit(r *http.Request) error {
	address := governor.ClientKey(r, a.opts.TrustedProxies)
	if err := a.opts.Governor.Identify(r.Context(), address); err != nil {
		return err
	}
	return a.opts.Governor.AllowRequest(address)
}

// callHandler serves a call over HTTP.
func (a *API) callHandler(c *Call) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		var ans result
		err := error(wire.ProtocolError)
		switch {
		case r.Method != c.Method:
		case a.opts.Away():
			err = answer.ErrAway // at once, instead of after the timeout
		default:
			ans, err = a.serveHTTP(ctx, c, w, r)
		}
		if err != nil && r.Context().Err() != nil {
			return // the client has gone
		}
		code := a.observe(c.Name, err, time.Since(started))
		if err == nil && ans != nil {
			if c.Public {
				w.Header().Set("Cache-Control", "public, max-age=60")
			}
			a.answer(w, ans)
			return
		}
		if errors.Is(err, governor.ErrLimited) {
			a.opts.Governor.Delay(ctx, governor.ClientKey(r, a.opts.TrustedProxies))
		}
		answer.SetRetryAfter(w, err)
		answer.WriteCode(w, answer.StatusOf(err), code)
	})
}

// answer writes a result, and does what follows it when the client can read it.
func (a *API) answer(w http.ResponseWriter, ans result) {
	body := ans.Append(nil)
	next, follows := ans.(followed)
	if follows {
		w.Header().Set("Content-Length", strconv.Itoa(len(body))) // else the answer ends with the handler
	}
	answer.Write(w, http.StatusOK, body)
	if follows {
		// An error means that the client has gone.
		_ = http.NewResponseController(w).Flush()
		next.follow(a)
	}
}

// serveHTTP parses a call and serves it.
func (a *API) serveHTTP(ctx context.Context, c *Call, w http.ResponseWriter, r *http.Request) (result, error) {
	q := &request{address: governor.ClientKey(r, a.opts.TrustedProxies)}
	var code wire.Code
	if c.Method == http.MethodGet {
		q.Values, code = wire.ParseQuery(r.URL.RawQuery, c.httpFields(), a.limits())
	} else {
		reading := a.opts.Governor.NewBody(q.address)
		defer reading.Free()
		body, err := a.body(w, r, cmp.Or(c.MaxBody, a.maxBody()), reading)
		if err != nil {
			return nil, err
		}
		q.Values, code = wire.ParseBody(body, c.httpFields(), a.limits())
	}
	if code != 0 {
		return nil, code
	}
	ans, err := a.serve(ctx, c, q)
	if err == nil && q.disconnect {
		err = a.opts.Disconnector.DisconnectUser(ctx, q.me.ID)
	}
	return ans, err
}

// maxBody returns the bytes of the largest body of a call. It allows for the largest registration, with every character
// of the picture escaped.
func (a *API) maxBody() int { return a.opts.Governor.Picture()*2 + 32<<10 }

// body reads the body of a POST, of at most size bytes, and counts its bytes.
func (a *API) body(w http.ResponseWriter, r *http.Request, size int, reading *governor.Body) ([]byte, error) {
	body, err := io.ReadAll(countedReader{http.MaxBytesReader(w, r.Body, int64(size)), reading})
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, answer.ErrTooLarge
	}
	if errors.Is(err, governor.ErrLimited) {
		w.Header().Set("Connection", "close") // otherwise net/http waits for the rest of the body before it answers
		return nil, err
	}
	if err != nil {
		return nil, wire.ProtocolError
	}
	return body, nil
}

// countedReader counts the bytes that it reads.
type countedReader struct {
	io.Reader
	reading *governor.Body
}

func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if limited := r.reading.Grow(n); limited != nil {
		return n, limited
	}
	return n, err
}
