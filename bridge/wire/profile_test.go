package wire

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestProfileFields: the declaration, the struct and the JSON have the same fields in the same order.
func TestProfileFields(t *testing.T) {
	t.Parallel()
	var p Profile
	fields := reflect.TypeFor[ProfileFields]()
	if fields.NumField() != len(profileFields) {
		t.Fatalf("%d fields in the struct, %d declared", fields.NumField(), len(profileFields))
	}
	want := `{"id":"1"`
	p.ID = "1"
	for i, field := range p.pointers() {
		name := profileFields[i].Name
		if got := fields.Field(i).Tag.Get("json"); got != name {
			t.Errorf("field %d is %s in the struct, declared as %s", i, got, name)
		}
		*field = "value of " + name
		want += `,"` + name + `":"value of ` + name + `"`
	}
	want += `}`
	got := string(p.Append(nil))
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if b, err := json.Marshal(p); err != nil || string(b) != got {
		t.Errorf("encoding/json writes %s, %v", b, err)
	}
}
