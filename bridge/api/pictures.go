package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"imctl/bridge/answer"
	"imctl/bridge/picture"
	"imctl/kv"
)

// picturePolicy is for a picture that a browser opens on its own: it may load and do nothing.
const picturePolicy = "default-src 'none'; sandbox"

// servePicture serves the image of a profile. Its address has the hash of the image and the id of its user, so that no
// index is needed: the image is served while the user exists and has it. The bytes of an address never change.
func (a *API) servePicture(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	hash, id := r.PathValue("hash"), r.PathValue("id")
	image, err := a.image(ctx, hash, id)
	switch {
	case errors.Is(err, kv.ErrUserNotFound):
		w.Header().Set("Cache-Control", "no-store")
		http.NotFound(w, r)
		return
	case err != nil:
		if r.Context().Err() == nil { // otherwise the client has gone
			answer.WriteCode(w, http.StatusServiceUnavailable, answer.CodeOf(a.opts.Logger, "picture", err))
		}
		return
	}
	h := w.Header()
	h.Set("Content-Type", image.Type)
	h.Set("Content-Disposition", `attachment; filename="picture.`+strings.TrimPrefix(image.Type, "image/")+`"`)
	h.Set("Content-Security-Policy", picturePolicy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", `"`+image.Hash+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(image.Data))
}

// image returns the image of a user if it has this hash. Errors: kv.ErrUserNotFound.
func (a *API) image(ctx context.Context, hash, id string) (i picture.Image, err error) {
	if a.opts.Away() {
		return i, answer.ErrAway
	}
	if !kv.ValidID(id) || len(hash) != hex.EncodedLen(sha256.Size) {
		return i, kv.ErrUserNotFound
	}
	err = a.pass(func() error {
		u, err := a.opts.Store.Users.Get(ctx, id)
		if err != nil {
			return err
		}
		var ok bool
		if i, ok = picture.Parse(u.Picture); !ok || i.Hash != hash {
			return kv.ErrUserNotFound
		}
		return nil
	})
	return i, err
}
