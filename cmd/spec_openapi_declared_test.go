package cmd

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imctl/bridge/api"
	"imctl/bridge/wire"
)

// TestOpenAPICalls: docs/openapi.yaml has every declared call with its method, fields, lengths, required fields and
// codes, and no other call.
func TestOpenAPICalls(t *testing.T) {
	t.Parallel()
	s := readSpec(t, "openapi.yaml")
	paths := maps.Clone(s.object(t, "/paths"))
	for _, c := range api.Calls() {
		if c.Path == "" {
			continue // only NATS clients may call it
		}
		at := "/paths/" + escapePointer(c.Path) + "/" + strings.ToLower(c.Method)
		if _, v := s.at(at); v == nil || len(s.object(t, "/paths/"+escapePointer(c.Path))) != 1 {
			t.Errorf("%s %s is not in the document, or not alone", c.Method, c.Path)
			continue
		}
		delete(paths, c.Path)
		want := declaredFields(c)
		if got := documentedFields(t, s, c.Method, at); !maps.Equal(got, want) {
			t.Errorf("%s has the fields %v, want %v", c.Path, got, want)
		}
		codes := slices.Concat(api.CommonCodes, c.Codes)
		if c.Auth {
			codes = append(codes, api.AuthCodes...)
		}
		var wantCodes []int
		for _, code := range codes {
			wantCodes = append(wantCodes, int(code))
		}
		if c.Name == "forgot" || c.Name == "registration" || c.Name == "info" { // answered before anything is read: 500 only while NATS is unreachable
			wantCodes = slices.DeleteFunc(wantCodes, func(n int) bool { return n == int(wire.InternalError) })
		}
		got := s.codes(t, at+"/responses/200/content/application~1json/schema")
		slices.Sort(got)
		slices.Sort(wantCodes)
		if got, wantCodes := slices.Compact(got), slices.Compact(wantCodes); !slices.Equal(got, wantCodes) {
			t.Errorf("%s has the codes %v, want %v", c.Path, got, wantCodes)
		}
		for _, status := range []string{"421", "429"} { // any client may be over its limit of requests
			if _, v := s.at(at + "/responses/" + status); v == nil {
				t.Errorf("%s may be answered with the status %s, and the document does not have it", c.Path, status)
			}
		}
	}
	for _, path := range append(slices.Clone(api.LoginPaths), "/", "/im/www/v1/{file}", "/im/pictures/{hash}/{id}") {
		if _, ok := paths[path].(map[string]any)["get"]; !ok {
			t.Errorf("GET %s is not in the document", path)
		}
		delete(paths, path)
	}
	for path, method := range map[string]string{"/im/files": "post", "/im/files/{file}": "get"} { // bytes, and no fields
		if _, ok := paths[path].(map[string]any)[method]; !ok {
			t.Errorf("%s %s is not in the document", method, path)
		}
		delete(paths, path)
	}
	for path := range paths {
		t.Errorf("%s is in the document, and no call has it", path)
	}
}

// declaredFields returns the fields of a call, each with its length and whether it is required.
func declaredFields(c api.Call) map[string]string {
	all := make(map[string]string)
	fields := c.Fields
	if c.Auth {
		fields = append([]wire.Field{{Name: "id", Empty: wire.AccountIDEmpty}, {Name: "token", Empty: wire.AuthEmpty}}, fields...)
	}
	for _, f := range fields {
		length := "any length"
		if f.Max > 0 {
			length = strconv.Itoa(f.Max)
		}
		all[f.Name] = fmt.Sprint(length, ", required ", f.Empty != 0)
	}
	return all
}

func documentedFields(t *testing.T, s spec, method, at string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	describe := func(name, schema string, required bool) {
		length := "any length"
		// The limits of passwords and pictures are settings: the document has the largest.
		if n := maxLength(s, schema); n > 0 && name != "password" && name != "picture" {
			length = strconv.Itoa(n)
		}
		all[name] = fmt.Sprint(length, ", required ", required)
	}
	if method == http.MethodGet {
		_, v := s.at(at + "/parameters")
		list, _ := v.([]any)
		for i := range list {
			p := at + "/parameters/" + strconv.Itoa(i)
			parameter := s.object(t, p)
			describe(parameter["name"].(string), p+"/schema", parameter["required"] == true)
		}
		return all
	}
	schema := at + "/requestBody/content/application~1json/schema"
	_, v := s.at(schema + "/required")
	required, _ := v.([]any)
	for name := range s.object(t, schema+"/properties") {
		describe(name, schema+"/properties/"+name, slices.Contains(required, any(name)))
	}
	return all
}

// maxLength returns the longest value that a schema allows, or 0.
func maxLength(s spec, schema string) int {
	_, v := s.at(schema)
	m, _ := v.(map[string]any)
	if ref, ok := m["$ref"].(string); ok {
		return maxLength(s, strings.TrimPrefix(ref, "#"))
	}
	if choices, ok := m["anyOf"].([]any); ok && len(choices) > 0 {
		return maxLength(s, schema+"/anyOf/0")
	}
	n, _ := m["maxLength"].(json.Number)
	length, _ := n.Int64()
	return int(length)
}
