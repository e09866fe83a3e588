package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/andybalholm/brotli"
)

// pageFile is one file of the page.
type pageFile struct {
	mime      string
	plain     pageBody
	encodings []*encoding // the preferred one first; nil for a file that is compressed already
}

// pageBody is a file as it is sent. Each encoding has its own tag, since a cache may have the other one.
type pageBody struct {
	bytes []byte
	etag  string
}

func newPageFile(name string, body []byte) *pageFile {
	sum := sha256.Sum256(body)
	tag := hex.EncodeToString(sum[:12])
	f := &pageFile{mime: typeOf(name), plain: pageBody{body, `"` + tag + `"`}}
	if strings.HasPrefix(f.mime, "image/") && f.mime != "image/svg+xml" {
		return f
	}
	f.encodings = []*encoding{{
		name: "br", source: body, tag: tag,
		fast: func(w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, 5) },
		best: func(w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, brotli.BestCompression) },
	}, {
		name: "gzip", source: body, tag: tag,
		fast: func(w io.Writer) io.WriteCloser {
			z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
			if err != nil {
				panic(err) // the level is valid: there is no other error
			}
			return z
		},
	}}
	return f
}

// encoding is a compressed file. It is compressed when a client first asks for it, so that a start takes no longer.
type encoding struct {
	name   string
	source []byte
	tag    string
	fast   func(io.Writer) io.WriteCloser
	best   func(io.Writer) io.WriteCloser // nil: fast is the best

	once sync.Once
	body atomic.Pointer[pageBody]
	done chan struct{} // closed when the best one is there
}

// compressing makes the best compressions one after the other: each takes up to 100 ms of a processor.
var compressing sync.Mutex

// get returns the compressed file. The first client gets what fast makes, in a millisecond or two, and later ones what
// best makes, which is a tenth smaller.
func (e *encoding) get() pageBody {
	e.once.Do(func() {
		e.done = make(chan struct{})
		e.body.Store(e.compress(e.fast, ""))
		if e.best == nil {
			close(e.done)
			return
		}
		go func() {
			defer close(e.done)
			compressing.Lock()
			defer compressing.Unlock()
			e.body.Store(e.compress(e.best, "-best"))
		}()
	})
	return *e.body.Load()
}

func (e *encoding) compress(writer func(io.Writer) io.WriteCloser, suffix string) *pageBody {
	var b bytes.Buffer
	w := writer(&b)
	_, err := w.Write(e.source)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a buffer accepts everything
	}
	return &pageBody{b.Bytes(), `"` + e.tag + "-" + e.name + suffix + `"`}
}
