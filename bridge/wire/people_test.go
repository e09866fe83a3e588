package wire

import (
	"testing"
	"time"
)

func TestAppendPeople(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 4, 12, 20, 30, 0, time.FixedZone("", 7200))
	tom := Person{ID: "f6", Name: `T"om`, Picture: "/im/pictures/a/f6", Sign: "strong", Account: "tom", Since: at, Common: 3}
	const head = `{"code":200,"message":"Success","ok":true,`
	for name, tc := range map[string]struct {
		answer interface{ Append([]byte) []byte }
		want   string
	}{
		"people": {People{[]Person{tom, {ID: "61"}}, "1-z"}, head + `"people":[{"id":"f6","name":"T\"om","picture":"/im/pictures/a/f6","sign":"strong",` +
			`"account":"tom","since":"2026-05-04T10:20:30Z","common":3},{"id":"61","name":"","picture":"","sign":"","common":0}],"next":"1-z"}`},
		"no people": {People{}, head + `"people":null}`},
		"one": {OnePerson{Person: Person{ID: "61", Since: at}, Asks: true}, head + `"person":{"id":"61","name":"","picture":"","sign":"",` +
			`"since":"2026-05-04T10:20:30Z","common":0,"friend":false,"asked":false,"asks":true}}`},
		"asked": {Asked{{ID: "61", Name: "Jo", At: at}, {ID: "62"}}, head + `"asked":[{"id":"61","name":"Jo","picture":"","at":"2026-05-04T10:20:30Z"},` +
			`{"id":"62","name":"","picture":""}]}`},
		"none asked": {Asked(nil), head + `"asked":null}`},
	} {
		if got := string(tc.answer.Append(nil)); got != tc.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, tc.want)
		}
	}
}
