package cmd

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"imctl/bridge/wire"
)

// spec is one of the documents in docs that describe the protocol for machines.
type spec struct {
	name string
	doc  any
}

func readSpec(t testing.TB, name string) spec {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	var raw any
	if err := yaml.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	return spec{name, jsonValue(t, []byte(jsonOf(raw)))}
}

// jsonOf is for values that JSON has.
func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// jsonValue reads JSON as the schemas' library wants it.
func jsonValue(t testing.TB, text []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func escapePointer(key string) string { return pointerEscapes.Replace(key) }

// at finds what a JSON pointer points to, through references; nil for nothing. It returns where that is, too.
func (s spec) at(pointer string) (string, any) {
	here, v := "", s.doc
	for key := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		for {
			m, _ := v.(map[string]any)
			ref, ok := m["$ref"].(string)
			if !ok {
				break
			}
			here, v = s.at(strings.TrimPrefix(ref, "#"))
		}
		here += "/" + key
		switch c := v.(type) {
		case map[string]any:
			v = c[strings.NewReplacer("~1", "/", "~0", "~").Replace(key)]
		case []any:
			n, err := strconv.Atoi(key)
			if err != nil || n >= len(c) {
				return here, nil
			}
			v = c[n]
		default:
			return here, nil
		}
	}
	if m, ok := v.(map[string]any); ok && len(m) == 1 {
		if ref, ok := m["$ref"].(string); ok {
			return s.at(strings.TrimPrefix(ref, "#"))
		}
	}
	return here, v
}

func (s spec) object(t testing.TB, pointer string) map[string]any {
	t.Helper()
	_, v := s.at(pointer)
	m, ok := v.(map[string]any)
	if !ok {
		t.Fatalf("%s has no %s", s.name, pointer)
	}
	return m
}

// leaves are the schemas that a schema is one of, by where they are.
func (s spec) leaves(pointer string) (all []string) {
	here, v := s.at(pointer)
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	choices, ok := m["oneOf"].([]any)
	if !ok {
		return []string{here}
	}
	for i := range choices {
		all = append(all, s.leaves(here+"/oneOf/"+strconv.Itoa(i))...)
	}
	return all
}

// codes are those of the answers that a schema allows.
func (s spec) codes(t testing.TB, pointer string) (all []int) {
	t.Helper()
	for _, leaf := range s.leaves(pointer) {
		_, c := s.at(leaf + "/properties/code/const")
		if n, ok := c.(json.Number); ok {
			code, err := n.Int64()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, int(code))
		}
	}
	return all
}

// compiler makes schemas of the document's parts. Closed ones allow no key that they do not have: what the document
// leaves open for the days to come, a server of today does not send.
func (s spec) compiler(t testing.TB, dialect string, closed bool) func(pointer string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	d := jsonschema.Draft7
	if dialect == "2020-12" {
		d = jsonschema.Draft2020
	}
	c.DefaultDraft(d)
	c.AssertFormat()
	doc := jsonValue(t, []byte(jsonOf(s.doc)))
	if closed {
		closeObjects(doc)
	}
	if err := c.AddResource("file:///"+s.name, doc); err != nil {
		t.Fatal(err)
	}
	return func(pointer string) *jsonschema.Schema {
		t.Helper()
		sch, err := c.Compile("file:///" + s.name + "#" + pointer)
		if err != nil {
			t.Fatal(err)
		}
		return sch
	}
}

func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"]; ok && v["type"] == "object" {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			closeObjects(child)
		}
	case []any:
		for _, child := range v {
			closeObjects(child)
		}
	}
}

// references are resolved, all of them.
func (s spec) references(t testing.TB) {
	t.Helper()
	walk(s.doc, "", func(at string, m map[string]any) {
		ref, ok := m["$ref"].(string)
		if !ok {
			return
		}
		if _, v := s.at(strings.TrimPrefix(ref, "#")); v == nil || !strings.HasPrefix(ref, "#/") {
			t.Errorf("%s: at %s is a reference to %s, which is not there", s.name, at, ref)
		}
	})
}

// walk visits every object of a document.
func walk(v any, at string, visit func(at string, m map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(at, v)
		for k, child := range v {
			walk(child, at+"/"+escapePointer(k), visit)
		}
	case []any:
		for i, child := range v {
			walk(child, at+"/"+strconv.Itoa(i), visit)
		}
	}
}

// valid holds a value against a schema.
func valid(t testing.TB, what string, sch *jsonschema.Schema, v any) {
	t.Helper()
	if err := sch.Validate(v); err != nil {
		t.Errorf("%s: %s\n%v", what, jsonOf(v), err)
	}
}

// codesAgree: the codes are those of the server, with their messages.
func (s spec) codesAgree(t testing.TB) {
	t.Helper()
	found := 0
	walk(s.doc, "", func(at string, m map[string]any) {
		p, _ := m["properties"].(map[string]any)
		code, _ := p["code"].(map[string]any)
		number, ok := code["const"].(json.Number)
		if !ok || p["ok"] == nil {
			return
		}
		found++
		n, err := number.Int64()
		c := wire.Code(n)
		want := []any{c.Message(), c.OK()}
		if got := []any{constant(p["message"]), constant(p["ok"])}; err != nil || c.Message() == "" || !slices.Equal(got, want) {
			t.Errorf("%s: at %s code %s is %v", s.name, at, number, got)
		}
	})
	if found < 15 {
		t.Errorf("%s: %d codes", s.name, found)
	}
}

// constant returns the only value that a schema allows, or nil.
func constant(schema any) any {
	m, _ := schema.(map[string]any)
	return m["const"]
}
