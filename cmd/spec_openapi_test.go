package cmd

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	verrors "github.com/pb33f/libopenapi-validator/errors"
)

// openAPI is docs/openapi.yaml, and the answers that the test has seen.
type openAPI struct {
	spec
	requests validator.Validator
	answers  validator.Validator // strict: what the document does not have may not be there

	mu   sync.Mutex // guards seen
	seen map[string]bool
}

func readOpenAPI(t testing.TB) *openAPI {
	t.Helper()
	text, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a := &openAPI{spec: readSpec(t, "openapi.yaml"), seen: make(map[string]bool)}
	make := func(opts ...config.Option) validator.Validator {
		d, err := libopenapi.NewDocument(text)
		if err != nil {
			t.Fatal(err)
		}
		v, errs := validator.NewValidator(d, opts...)
		if len(errs) > 0 {
			t.Fatal(errors.Join(errs...))
		}
		if ok, errs := v.ValidateDocument(); !ok {
			t.Fatalf("docs/openapi.yaml is not OpenAPI: %s", faults(errs))
		}
		return v
	}
	a.requests = make()
	a.answers = make(config.WithStrictMode(), config.WithStrictIgnoredHeadersExtra("X-Content-Type-Options", "Referrer-Policy",
		"X-Frame-Options", "Cross-Origin-Opener-Policy", "Permissions-Policy", "Sec-Websocket-Accept", "Upgrade", "Accept-Ranges"))
	return a
}

func faults(errs []*verrors.ValidationError) string {
	var b strings.Builder
	for _, e := range errs {
		fmt.Fprintf(&b, "\n  %s: %s", e.Message, e.Reason)
		for _, s := range e.SchemaValidationErrors {
			fmt.Fprintf(&b, "\n    at %s: %s", s.FieldPath, s.Reason)
		}
	}
	return b.String()
}

// exchange is a call and its documented answer.
type exchange struct {
	path   string // with the query of a GET
	body   string // of a POST; "" makes it a GET
	code   int    // 0: no JSON
	status int    // 0: 200
	beyond bool   // it is malformed in a way that a schema cannot tell
	header http.Header
}

// malformedCodes are those of calls that the document does not allow; 403 with another status than 200 is none.
var malformedCodes = []int{403, 501, 502, 503, 514, 516, 517, 519, 521}

func (x exchange) request(t testing.TB, w *world) *http.Request {
	t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if x.body != "" {
		method, body = http.MethodPost, strings.NewReader(x.body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, w.base(0)+x.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if x.header != nil {
		r.Header = x.header.Clone()
		r.Host = cmp.Or(x.header.Get("Host"), r.Host)
	}
	if x.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// try makes the call, and validates the request and the answer against the document.
func (a *openAPI) try(t testing.TB, w *world, x exchange) {
	t.Helper()
	if x.status == 0 {
		x.status = http.StatusOK
	}
	fits := x.beyond || x.status != http.StatusOK || !slices.Contains(malformedCodes, x.code)
	if ok, errs := a.requests.ValidateHttpRequestSync(x.request(t, w)); ok != fits {
		t.Errorf("%s %s, answered %d: the document allows it: %t%s", x.path, x.body, x.code, ok, faults(errs))
	}
	r, err := w.http.Do(x.request(t, w))
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if got := (reply{body: string(body)}).code(); got != x.code || r.StatusCode != x.status {
		t.Errorf("%s %s: %d %s, want %d with code %d", x.path, x.body, r.StatusCode, body, x.status, x.code)
	}
	a.answered(t, x.request(t, w), r, x.code)
}

func (a *openAPI) answered(t testing.TB, q *http.Request, r *http.Response, code int) {
	t.Helper()
	if ok, errs := a.answers.ValidateHttpResponse(q, r); !ok {
		t.Errorf("%s is answered as the document does not say:%s", q.URL.Path, faults(errs))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	path := q.URL.Path
	if strings.HasPrefix(path, "/im/www/v1/") {
		path = "/im/www/v1/{file}"
	}
	if strings.HasPrefix(path, "/im/files/") {
		path = "/im/files/{file}"
	}
	if strings.HasPrefix(path, "/im/pictures/") {
		path = "/im/pictures/{hash}/{id}"
	}
	a.seen[fmt.Sprint(q.Method, " ", path, " ", r.StatusCode, " ", code)] = true
}

// documented lists method, path, status and code of every answer that the document has.
func (a *openAPI) documented(t testing.TB) (all []string) {
	t.Helper()
	for path, item := range a.object(t, "/paths") {
		for method := range item.(map[string]any) {
			at := "/paths/" + escapePointer(path) + "/" + method + "/responses"
			for status := range a.object(t, at) {
				schema := at + "/" + status + "/content/application~1json/schema"
				codes := a.codes(t, schema)
				if codes == nil {
					codes = []int{0}
				}
				for _, code := range codes {
					all = append(all, fmt.Sprint(strings.ToUpper(method), " ", path, " ", status, " ", code))
				}
			}
		}
	}
	return all
}

// examples validates the examples of the document.
func (a *openAPI) examples(t testing.TB) {
	t.Helper()
	n, schema := 0, a.compiler(t, "2020-12", true)
	walk(a.doc, "", func(at string, m map[string]any) {
		examples, ok := m["examples"].(map[string]any)
		if !ok || m["schema"] == nil {
			return
		}
		for name := range examples {
			_, v := a.at(at + "/examples/" + name + "/value")
			valid(t, at+" "+name, schema(at+"/schema"), v)
			n++
		}
	})
	if n < 50 {
		t.Errorf("%d examples", n)
	}
}

// TestOpenAPI makes every documented call with every documented answer.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	a := readOpenAPI(t)
	a.references(t)
	a.codesAgree(t)
	a.examples(t)
	t.Run("refused when the document is wrong", a.isWrong)
	t.Run("calls", func(t *testing.T) {
		t.Run("at work", func(t *testing.T) { t.Parallel(); a.atWork(t) })
		t.Run("without passwords", func(t *testing.T) { t.Parallel(); a.elsewhere(t) })
		t.Run("with mail, and a store that fails", func(t *testing.T) { t.Parallel(); a.mailAndFailure(t) })
	})
	for _, answer := range a.documented(t) {
		if !a.seen[answer] {
			t.Errorf("documented, and never seen: %s", answer)
		}
	}
}

// isWrong checks that the validation rejects undocumented calls and answers.
func (a *openAPI) isWrong(t *testing.T) {
	answer := func(path string, status int, body string) bool {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://im.example.org"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Cache-Control": {"no-store"}},
			Body: io.NopCloser(strings.NewReader(body)), Request: q}
		ok, _ := a.answers.ValidateHttpResponse(q, r)
		return ok
	}
	found := "/im/friends/found?" + query("id", "a", "token", "b", "name", "c")
	if !answer(found, 200, replyBody(516)) || !answer(found, 200, `{"code":200,"found":null,"message":"Success","ok":true}`) {
		t.Error("right answers are refused")
	}
	for _, body := range []string{
		replyBody(200), replyBody(512), `{}`, `[]`, `{"code":516,"message":"Name Empty","ok":true}`, `{"code":516,"message":"name empty","ok":false}`,
		`{"code":"516","message":"Name Empty","ok":false}`, `{"code":516,"message":"Name Empty","ok":false,"more":1}`,
		`{"code":200,"found":[],"message":"Success","ok":true}`, `{"code":200,"found":[{"id":"x"}],"message":"Success","ok":true}`,
	} {
		if answer(found, 200, body) {
			t.Errorf("accepted: %s", body)
		}
	}
	if answer(found, 418, replyBody(403)) || answer("/im/friends/find", 200, replyBody(200)) {
		t.Error("an answer with a status, or to a path, that is not in the document")
	}
}
