package bridge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"imctl/bridge/limit"
	"imctl/bridge/wire"
	"imctl/bridge/www"
	"imctl/kv"
)

// callWait bounds the work for one call.
const callWait = 20 * time.Second

// routes maps the protocol's paths to handlers. What is not here is 404.
func (b *Bridge) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/im/register", b.call("register", http.MethodPost, b.register))
	mux.Handle("/im/friends/found", b.call("found", http.MethodGet, b.found))
	mux.Handle("/im/friends/request", b.call("request", http.MethodGet, b.request))
	mux.Handle("/im/friends/add", b.call("add", http.MethodGet, b.add))
	mux.Handle("/im/friends/remove", b.call("remove", http.MethodGet, b.remove))
	mux.Handle("/im/profile/update", b.call("profile", http.MethodPost, b.profile))
	mux.Handle("/im/logout", b.call("logout", http.MethodPost, b.logout))
	if b.post != nil {
		mux.Handle("/im/password/forgot", b.call("forgot", http.MethodPost, b.forgot))
		mux.Handle("/im/password/reset", b.call("reset", http.MethodPost, b.reset))
	}
	mux.HandleFunc("/im/login", b.serveLogin)
	mux.HandleFunc("/im/login/im/login", b.serveLogin)
	mux.Handle("/im/www/v1/", http.StripPrefix("/im/www/v1/", pages(www.FS())))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/im/www/v1/chat.html", http.StatusFound)
	})
	return b.guarded(mux)
}

// guarded sets what every answer carries, and answers for a handler that panics.
func (b *Bridge) guarded(next http.Handler) http.Handler {
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
			defer writeCode(w, wire.InternalError)
			defer recovered(b.log, r.Method+" "+r.URL.Path)
			panic(p)
		}()
		next.ServeHTTP(w, r)
	})
}

// answer is what a call says on success, when it says more than its code.
type answer interface{ Append([]byte) []byte }

// call turns a function of the protocol into a handler: the method is checked, the time bounded, and what comes back
// becomes the answer.
func (b *Bridge) call(name, method string, do func(ctx context.Context, w http.ResponseWriter, r *http.Request) (answer, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), callWait)
		defer cancel()
		var a answer
		err := error(wire.ProtocolError)
		switch {
		case r.Method != method:
		case b.link.isAway():
			err = errAway // at once, instead of after the time limit
		default:
			err = b.service.gate.pass(func() (err error) {
				a, err = do(ctx, w, r)
				return err
			})
		}
		code := wire.Success
		switch {
		case err != nil && r.Context().Err() != nil:
			return // the client is gone
		case err != nil:
			code = b.codeOf(name, err)
			writeStatus(w, statusOf(err), code)
		case a != nil:
			writeJSON(w, http.StatusOK, a.Append(nil))
		default:
			writeCode(w, wire.Success)
		}
		b.metrics.call(name, code, time.Since(started))
	})
}

// body reads what was posted, within the size that a registration may have.
func (b *Bridge) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, b.bodyLimit()))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, wire.ProtocolError
	}
	return body, nil
}

func (b *Bridge) register(ctx context.Context, w http.ResponseWriter, r *http.Request) (answer, error) {
	body, err := b.body(w, r)
	if err != nil {
		return nil, err
	}
	in, code := wire.ParseRegister(body, wire.Limits{Picture: b.limits.Load().picture})
	if code != 0 {
		return nil, code
	}
	registrations, address := b.limits.Load().registrations, limit.ClientKey(r, b.o.TrustedProxies)
	gate := func() error {
		if !registrations.Peek(address) {
			return errLimited
		}
		return nil
	}
	if err := gate(); err != nil {
		return nil, err
	}
	_, err = b.service.Register(ctx, kv.User{Account: in.Account, Mail: in.Mail, Profile: kv.Profile{
		Name: in.Name, Picture: in.Picture, Sex: in.Sex, Birthday: in.Birthday, Sign: in.Sign}}, in.Password, gate)
	if err == nil {
		registrations.Take(address) // only what was made counts
	}
	return nil, err
}

// bodyLimit is for the largest registration there can be, with every character of the picture escaped.
func (b *Bridge) bodyLimit() int64 { return int64(b.limits.Load().picture)*2 + 32<<10 }

func (b *Bridge) found(ctx context.Context, _ http.ResponseWriter, r *http.Request) (answer, error) {
	c, code := wire.ParseFound(r.URL.RawQuery)
	me, err := b.authorize(ctx, code, c.Auth, c.Check)
	if err != nil {
		return nil, err
	}
	found, err := b.service.Found(ctx, me, c.Name)
	if err != nil {
		return nil, err
	}
	return wire.NewFound(found), nil
}

func (b *Bridge) request(ctx context.Context, _ http.ResponseWriter, r *http.Request) (answer, error) {
	c, code := wire.ParseRequest(r.URL.RawQuery)
	me, err := b.authorize(ctx, code, c.Auth, c.Check)
	if err != nil {
		return nil, err
	}
	return nil, b.service.Request(ctx, me, c.To, c.Note)
}

func (b *Bridge) add(ctx context.Context, _ http.ResponseWriter, r *http.Request) (answer, error) {
	c, code := wire.ParseAdd(r.URL.RawQuery)
	me, err := b.authorize(ctx, code, c.Auth, c.Check)
	if err != nil {
		return nil, err
	}
	return nil, b.service.Add(ctx, me, c.From, c.Name)
}

func (b *Bridge) remove(ctx context.Context, _ http.ResponseWriter, r *http.Request) (answer, error) {
	c, code := wire.ParseRemove(r.URL.RawQuery)
	me, err := b.authorize(ctx, code, c.Auth, c.Check)
	if err != nil {
		return nil, err
	}
	return nil, b.service.Remove(ctx, me, c.To)
}

func (b *Bridge) profile(ctx context.Context, w http.ResponseWriter, r *http.Request) (answer, error) {
	body, err := b.body(w, r)
	if err != nil {
		return nil, err
	}
	u, code := wire.ParseProfileUpdate(body, wire.Limits{Picture: b.limits.Load().picture})
	me, err := b.authorize(ctx, code, u.Auth, nothingElse)
	if err != nil {
		return nil, err
	}
	return nil, b.service.UpdateProfile(ctx, me, u, u.Token)
}

func (b *Bridge) logout(ctx context.Context, w http.ResponseWriter, r *http.Request) (answer, error) {
	body, err := b.body(w, r)
	if err != nil {
		return nil, err
	}
	a, code := wire.ParseLogout(body)
	me, err := b.authorize(ctx, code, a, nothingElse)
	if err != nil {
		return nil, err
	}
	return nil, b.service.Logout(ctx, me.ID, a.Token)
}

// nothingElse is the check of a call without fields of its own.
func nothingElse() wire.Code { return 0 }

// authorize checks a call in the protocol's order: malformed or without credentials, a token that is not good, then
// the call's own fields.
func (b *Bridge) authorize(ctx context.Context, parsed wire.Code, a wire.Auth, check func() wire.Code) (kv.User, error) {
	if parsed != 0 {
		return kv.User{}, parsed
	}
	me, err := b.service.Authorize(ctx, a.ID, a.Token)
	if err != nil {
		return me, err
	}
	if code := check(); code != 0 {
		return me, code
	}
	return me, nil
}

func writeCode(w http.ResponseWriter, c wire.Code) { writeStatus(w, http.StatusOK, c) }

func writeStatus(w http.ResponseWriter, status int, c wire.Code) {
	writeJSON(w, status, wire.AppendReply(nil, c, nil))
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error means that the client is gone.
	_, _ = w.Write(body)
}
