package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// asyncAPI is docs/asyncapi.yaml, and the messages that the test has seen.
type asyncAPI struct {
	spec
	open, closed func(pointer string) *jsonschema.Schema

	mu   sync.Mutex // guards what follows, and the compilers
	seen map[string]bool
}

func readAsyncAPI(t testing.TB) *asyncAPI {
	t.Helper()
	s := readSpec(t, "asyncapi.yaml")
	return &asyncAPI{spec: s, open: s.compiler(t, "draft-07", false), closed: s.compiler(t, "draft-07", true), seen: make(map[string]bool)}
}

// list are the messages that an operation, or the reply to it, may consist of, by where they are.
func (a *asyncAPI) list(t testing.TB, at string) (all []string) {
	t.Helper()
	_, refs := a.at(at + "/messages")
	for i := range refs.([]any) {
		message, v := a.at(fmt.Sprint(at, "/messages/", i))
		if v == nil {
			t.Fatalf("no %s/messages/%d", at, i)
		}
		all = append(all, message)
	}
	return all
}

// is tells what is wrong with a message of an operation, or of its reply for a name that ends in /reply. It has to be
// the message of that name and none of the others there.
func (a *asyncAPI) is(t testing.TB, operation, name string, body []byte) error {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	found := false
	for _, message := range a.list(t, "/operations/"+operation) {
		own := message == "/components/messages/"+name
		if !own {
			if a.open(message+"/payload").Validate(v) == nil {
				return fmt.Errorf("it could be taken for %s", message)
			}
			continue
		}
		found = true
		// A client may send additional keys, the server does not.
		schema := a.closed
		if _, action := a.at("/operations/" + strings.TrimSuffix(operation, "/reply") + "/action"); (action == "receive") != strings.HasSuffix(operation, "/reply") {
			schema = a.open
		}
		if err := schema(message + "/payload").Validate(v); err != nil {
			return err
		}
		for _, leaf := range a.leaves(message + "/payload") {
			if schema(leaf).Validate(v) == nil {
				a.seen[operation+" "+name+" "+leafName(leaf)] = true
			}
		}
	}
	if !found {
		return fmt.Errorf("the document has no %s in %s", name, operation)
	}
	return nil
}

func leafName(leaf string) string { return leaf[strings.LastIndexByte(leaf, '/')+1:] }

// saw fails the test unless the message is valid, and records it.
func (a *asyncAPI) saw(t testing.TB, operation, name string, body []byte) {
	t.Helper()
	if err := a.is(t, operation, name, body); err != nil {
		t.Errorf("%s: %s: %s\n%v", operation, name, body, err)
	}
}

// documented lists operation, message and schema of all that the document has.
func (a *asyncAPI) documented(t testing.TB) (all []string) {
	t.Helper()
	for operation := range a.object(t, "/operations") {
		for _, at := range []string{operation, operation + "/reply"} {
			if _, v := a.at("/operations/" + at + "/messages"); v == nil {
				continue
			}
			for _, message := range a.list(t, "/operations/"+at) {
				for _, leaf := range a.leaves(message + "/payload") {
					all = append(all, at+" "+leafName(message)+" "+leafName(leaf))
				}
			}
		}
	}
	return all
}

// channel finds the operation and the message of a subject that only one kind of message goes to, and checks the words
// in it that the document enumerates.
func (a *asyncAPI) channel(t testing.TB, subject string) (operation, message string) {
	t.Helper()
	for name, o := range a.object(t, "/operations") {
		where, _ := a.at("/operations/" + name + "/channel")
		_, address := a.at(where + "/address")
		pattern, ok := address.(string)
		if o.(map[string]any)["action"] != "send" || !ok || !strings.HasPrefix(pattern, "im.log.") {
			continue
		}
		for _, parameter := range regexp.MustCompile(`\{\w+\}`).FindAllString(pattern, -1) {
			words := `[0-9a-f]{32}`
			if _, enum := a.at(where + "/parameters/" + strings.Trim(parameter, "{}") + "/enum"); enum != nil {
				words = strings.Trim(strings.NewReplacer(`","`, "|", `"`, "").Replace(jsonOf(enum)), "[]")
			}
			pattern = strings.Replace(pattern, parameter, "("+words+")", 1)
		}
		if regexp.MustCompile("^" + strings.ReplaceAll(pattern, ".", `\.`) + "$").MatchString(subject) {
			return name, leafName(a.list(t, "/operations/"+name)[0])
		}
	}
	t.Errorf("the document has no channel for %s", subject)
	return "", ""
}

// asyncAPISchema is the official schema of such documents, in the version that testdata/asyncapi/package-lock.json
// names; where npm cannot bring it, the test is skipped, but not in CI.
func asyncAPISchema(t testing.TB) []byte {
	t.Helper()
	dir := npm(t, filepath.Join("testdata", "asyncapi"))
	b, err := os.ReadFile(filepath.Join(dir, "node_modules", "@asyncapi", "specs", "schemas", "3.0.0-without-$id.json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAsyncAPIDocument checks that the document is valid AsyncAPI 3.0, and its examples against their schemas.
func TestAsyncAPIDocument(t *testing.T) {
	t.Parallel()
	a := readAsyncAPI(t)
	a.references(t)
	n := 0
	for name := range a.object(t, "/components/messages") {
		at := "/components/messages/" + name
		_, examples := a.at(at + "/examples")
		for _, example := range examples.([]any) {
			n++
			valid(t, name, a.closed(at+"/payload"), example.(map[string]any)["payload"])
		}
	}
	if n < 40 {
		t.Errorf("%d examples", n)
	}
	a.codesAgree(t)
	t.Run("official schema", func(t *testing.T) {
		c := jsonschema.NewCompiler()
		c.DefaultDraft(jsonschema.Draft7)
		if err := c.AddResource("file:///official.json", jsonValue(t, asyncAPISchema(t))); err != nil {
			t.Fatal(err)
		}
		official, err := c.Compile("file:///official.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := official.Validate(a.doc); err != nil {
			t.Errorf("docs/asyncapi.yaml is not AsyncAPI 3.0: %v", err)
		}
		for _, spoil := range []func(doc map[string]any){
			func(doc map[string]any) { delete(doc, "info") },
			func(doc map[string]any) { doc["paths"] = map[string]any{} },
			func(doc map[string]any) {
				doc["operations"].(map[string]any)["deliver"].(map[string]any)["action"] = "publish"
			},
		} {
			doc := jsonValue(t, []byte(jsonOf(a.doc))).(map[string]any)
			spoil(doc)
			if official.Validate(doc) == nil {
				t.Error("a document that is not AsyncAPI is accepted")
			}
		}
	})
}

// TestAsyncAPIIsWrong checks that the schemas reject invalid frames.
func TestAsyncAPIIsWrong(t *testing.T) {
	t.Parallel()
	a := readAsyncAPI(t)
	id, other := strings.Repeat("0", 32), strings.Repeat("1", 32)
	const at = `"time":"2026-01-31T12:34:56.123456789Z"`
	for _, row := range []struct {
		operation, message string
		right              string
		wrong              []string
	}{
		{"takeDialogue/reply", "answer", replyFrame(`"7"`, 200), []string{replyBody(200), replyFrame(`""`, 200), replyFrame(`7`, 200), replyBody(505), replyFrame(`"7"`, 506), replyFrame(`"7"`, 513),
			`{"code":200,"message":"Success","ok":false,"id":"7"}`, `{"code":200,"message":"success","ok":true,"id":"7"}`, `{"code":200,"message":"Success","ok":true,"id":"7","more":1}`, `[]`, `x`}},
		{"deliver", "dialogue", dialogueFrame(`"7"`, id, `"p"`), []string{dialogueFrame(`"7"`, id, `""`), dialogueFrame(`""`, id, `"p"`), dialogueFrame(`"7"`, "x", `"p"`), dialogueFrame(`"7"`, id, `1`),
			`{"id":"7","from":"` + id + `"}`, `{"id":"7","from":"` + id + `","payload":"p","toFriend":"` + other + `"}`, dialogueFrame(`"7"`, id, `"p","more":1`)}},
		{"answerLogin", "refusal", replyBody(505), []string{replyFrame(`"7"`, 505), replyBody(512), replyBody(200)}},
		{"endSession", "goodbye", replyBody(513), []string{replyBody(512), replyFrame(`"7"`, 513)}},
		{"tell", "friendOffline", `{"code":300,"message":"Friend Offline","ok":true,"id":"` + id + `"}`, []string{`{"code":300,"message":"Friend Offline","ok":true}`,
			`{"code":302,"message":"Friend Online","ok":true,"id":"` + id + `"}`, `{"code":300,"message":"Friend Online","ok":true,"id":"` + id + `"}`}},
		{"takeDialogue", "send", dialogue(`"7"`, id, `"p"`), []string{dialogue(`" "`, id, `"p"`), dialogue(`"7"`, "", `"p"`), dialogue(`"7"`, id, `""`), `{}`}},
		{"logSession", "sessionEntry", `{"v":1,` + at + `,"user":"` + id + `","session":"s","node":"n"}`, []string{`{"v":2,` + at + `,"user":"` + id + `","session":"s","node":"n"}`,
			`{"v":1,"time":"2026-01-31T12:34:56Z","user":"` + id + `","session":"s","node":"n"}`, `{"v":1,"time":"2026-13-31T12:34:56.123456789Z","user":"` + id + `","session":"s","node":"n"}`,
			`{"v":1,` + at + `,"user":"` + id + `","session":"s"}`, `{"v":1,` + at + `,"user":"` + id + `","session":"s","node":"n","token":"t"}`}},
		{"logFriend", "friendEntry", `{"v":1,` + at + `,"from":"` + id + `","to":"` + other + `","note":"n"}`, []string{`{"v":1,` + at + `,"from":"` + id + `","to":"` + other + `","note":"n","alias":"a"}`}},
		{"takeDialogue", "sendRelated", `{"id":"7","toFriend":"` + id + `","payload":"p","re":1,"edits":2}`, []string{dialogue(`"7"`, id, `"p"`),
			`{"id":"7","toFriend":"` + id + `","payload":"p","re":0}`, `{"id":"7","toFriend":"` + id + `","re":1}`, `{"id":"7","toFriend":"` + id + `","payload":"p","edits":1,"deletes":2}`,
			`{"id":"7","toFriend":"` + id + `","payload":"p","reacts":"1"}`}},
		{"takeDialogue", "sendRelated", `{"id":"7","toFriend":"` + id + `","deletes":1}`, nil},
		{"takeDialogue/reply", "answer", `{"code":202,"message":"Dialogue Kept","ok":true,"id":"7","n":17,"at":"2026-03-01T10:00:00.120Z"}`, []string{
			replyFrame(`"7"`, 202), `{"code":202,"message":"Dialogue Kept","ok":true,"id":"7","n":0,"at":"2026-03-01T10:00:00.120Z"}`,
			`{"code":202,"message":"Dialogue Kept","ok":true,"id":"7","n":17,"at":"2026-03-01T10:00:00Z"}`}},
		{"deliver", "keptDialogue", `{"id":"7","from":"` + id + `","payload":"","with":"` + other + `","n":1,"at":"2026-03-01T10:00:00.120Z","deleted":true}`, []string{
			dialogueFrame(`"7"`, id, `"p"`), `{"id":"7","from":"` + id + `","payload":"p","with":"` + other + `","n":1}`,
			`{"id":"7","from":"` + id + `","payload":"p","with":"` + other + `","n":1,"at":"2026-03-01T10:00:00.120Z","deleted":false}`}},
		{"tell", "dialogueRead", `{"code":304,"message":"Dialogue Read","ok":true,"id":"` + id + `","n":1,"own":true}`, []string{
			`{"code":304,"message":"Dialogue Read","ok":true,"id":"` + id + `"}`, `{"code":303,"message":"Dialogue Read","ok":true,"id":"` + id + `","n":1}`}},
		{"acknowledge", "got", `{"got":17,"with":"` + id + `"}`, []string{`{"got":0,"with":"` + id + `"}`, `{"got":"17","with":"` + id + `"}`, `{"got":17}`, `{"read":17,"with":"` + id + `"}`}},
	} {
		if err := a.is(t, row.operation, row.message, []byte(row.right)); err != nil {
			t.Errorf("%s is refused: %v", row.right, err)
		}
		for _, body := range row.wrong {
			if a.is(t, row.operation, row.message, []byte(body)) == nil {
				t.Errorf("%s accepts %s", row.message, body)
			}
		}
	}
}

// TestAsyncAPI exchanges all documented messages, and validates each frame.
func TestAsyncAPI(t *testing.T) {
	t.Parallel()
	a := readAsyncAPI(t)
	t.Run("conversations", func(t *testing.T) {
		t.Run("on the tunnel", func(t *testing.T) { t.Parallel(); a.onTheTunnel(t) })
		t.Run("on NATS", func(t *testing.T) { t.Parallel(); a.onNATS(t) })
		t.Run("without conversations", func(t *testing.T) { t.Parallel(); a.withoutConversations(t) })
		t.Run("with a program that knows passwords", func(t *testing.T) { t.Parallel(); a.elsewhere(t) })
		t.Run("kept", func(t *testing.T) { t.Parallel(); a.kept(t) })
		t.Run("with a store that fails", func(t *testing.T) { t.Parallel(); a.failing(t) })
	})
	// The tunnel asks no store, so its server fails in no way that a test could bring about.
	const never = "takeDialogue/reply answer Answer500"
	for _, message := range a.documented(t) {
		if a.seen[message] == (message == never) {
			t.Errorf("seen %t: %s", a.seen[message], message)
		}
	}
}
