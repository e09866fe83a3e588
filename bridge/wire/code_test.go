package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// protocolCodes are the answers of the protocol, written independently of the table in codes.go.
const protocolCodes = `
{"code":200,"message":"Success","ok":true}
{"code":202,"message":"Dialogue Kept","ok":true}
{"code":300,"message":"Friend Offline","ok":true}
{"code":301,"message":"Refresh Friend's Profile","ok":true}
{"code":302,"message":"Friend Online","ok":true}
{"code":303,"message":"Dialogue Delivered","ok":true}
{"code":304,"message":"Dialogue Read","ok":true}
{"code":305,"message":"Friend Typing","ok":true}
{"code":306,"message":"Conversation Marked","ok":true}
{"code":403,"message":"Protocol Error","ok":false}
{"code":500,"message":"Internal Server Error","ok":false}
{"code":501,"message":"Account Info Empty","ok":false}
{"code":502,"message":"Password Info Empty","ok":false}
{"code":503,"message":"Secure Mail Info Empty","ok":false}
{"code":504,"message":"Account Already Exists","ok":false}
{"code":505,"message":"Account & Password Wrong","ok":false}
{"code":506,"message":"Dialogue ID Empty","ok":false}
{"code":507,"message":"Dialogue Send To Friend Failed","ok":false}
{"code":508,"message":"Friend Is Offline","ok":false}
{"code":509,"message":"Payload Must Be Text","ok":false}
{"code":510,"message":"Friend ID Empty","ok":false}
{"code":511,"message":"Payload Empty","ok":false}
{"code":512,"message":"Not Relation of Friend","ok":false}
{"code":513,"message":"Login In Other Place","ok":false}
{"code":514,"message":"Auth Info Empty","ok":false}
{"code":515,"message":"Auth Illegal","ok":false}
{"code":516,"message":"Name Empty","ok":false}
{"code":517,"message":"Account ID Empty","ok":false}
{"code":519,"message":"Friend Info Empty","ok":false}
{"code":520,"message":"Apply For a Friend","ok":true}
{"code":521,"message":"Alias Empty","ok":false}
{"code":522,"message":"Already Be Friend","ok":false}
{"code":523,"message":"Friend Not Exists","ok":false}
{"code":524,"message":"Friend Added","ok":true}
{"code":525,"message":"Friend Removed","ok":true}
{"code":526,"message":"Quota Exceeded","ok":false}
{"code":527,"message":"Sign-In Is Elsewhere","ok":false}
`

func TestRepliesMatchProtocol(t *testing.T) {
	t.Parallel()
	var got strings.Builder
	got.WriteByte('\n')
	for _, info := range All() {
		got.Write(AppendReply(nil, info.Code, nil))
		got.WriteByte('\n')
	}
	if got.String() != protocolCodes {
		t.Errorf("replies of all codes:\n%s\nwant:\n%s", got.String(), protocolCodes)
	}
}

func TestCodeTable(t *testing.T) {
	t.Parallel()
	last := Code(0)
	for _, info := range All() {
		if info.Code <= last {
			t.Errorf("code %d follows %d, want ascending order", info.Code, last)
		}
		last = info.Code
		if info.Code.Message() != info.Message || info.Code.OK() != info.OK {
			t.Errorf("code %d has another message or flag than the table", info.Code)
		}
		for _, text := range []string{info.Meaning, info.Client} {
			if !strings.HasSuffix(text, ".") || strings.ContainsAny(text, "|\n") {
				t.Errorf("code %d: %q, want sentences that fit a cell of a Markdown table", info.Code, text)
			}
		}
	}
	for _, c := range []Code{-1, 0, 1, 199, 201, 203, 307, 518, 528, 1000} {
		if c.Message() != "" || c.OK() {
			t.Errorf("unknown code %d has message %q and flag %t", c, c.Message(), c.OK())
		}
	}
}

func TestAllIsACopy(t *testing.T) {
	t.Parallel()
	All()[0].Message = "changed"
	if got := Success.Message(); got != "Success" {
		t.Errorf("message of 200 after the caller modified its slice: %q", got)
	}
}

func TestReplyEchoesTheID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		`"7"`:           `{"code":508,"message":"Friend Is Offline","ok":false,"id":"7"}`,
		`"\u00e4\/ ä"`:  `{"code":508,"message":"Friend Is Offline","ok":false,"id":"\u00e4\/ ä"}`,
		`"<&>\u2028\n"`: `{"code":508,"message":"Friend Is Offline","ok":false,"id":"<&>\u2028\n"}`,
	} {
		if got := string(AppendReply(nil, PeerOffline, RawString(id))); got != want {
			t.Errorf("reply to %s: %s, want %s", id, got, want)
		}
	}
	if got := string(AppendReply([]byte("x"), Success, nil)); got != `x{"code":200,"message":"Success","ok":true}` {
		t.Errorf("appended reply: %s", got)
	}
}

func TestCodeIsAnError(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("adding: %w", FriendNotExists)
	var c Code
	if !errors.As(err, &c) || c != FriendNotExists || !errors.Is(err, FriendNotExists) {
		t.Errorf("errors.As does not find the code in %v", err)
	}
	if got := err.Error(); got != "adding: 523 Friend Not Exists" {
		t.Errorf("error text: %q", got)
	}
	if got := Code(599).Error(); got != "599" {
		t.Errorf("text of an unknown code: %q", got)
	}
}

const protocolDocument = "../../docs/protocol.md"

func TestDocumentHasCodeTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(protocolDocument)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n## Codes\n")
	if !found {
		t.Fatal("the document has no section Codes")
	}
	var got []string
	for line := range strings.Lines(section) {
		var code int
		if n, _ := fmt.Sscanf(line, "| %d |", &code); n == 1 {
			got = append(got, strings.TrimSpace(line))
		}
	}
	all := All()
	if len(got) != len(all) {
		t.Errorf("the document has %d codes, the package %d", len(got), len(all))
	}
	for i, info := range all {
		want := fmt.Sprintf("| %d | `%s` | %t | %s | %s |", info.Code, info.Message, info.OK, info.Meaning, info.Client)
		if i >= len(got) || got[i] != want {
			t.Errorf("row %d of the document: want\n%s", i+1, want)
		}
	}
}

// TestDocumentExamples checks that the JSON examples of the document parse, and that answers have the right message.
func TestDocumentExamples(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(protocolDocument)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "```")
	examples := 0
	for i := 1; i < len(blocks); i += 2 {
		body, isJSON := strings.CutPrefix(blocks[i], "json\n")
		if !isJSON {
			continue
		}
		dec := json.NewDecoder(strings.NewReader(body))
		for dec.More() {
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil {
				t.Fatalf("example is not JSON: %v in\n%s", err, body)
			}
			examples++
			var f Frame
			if err := json.Unmarshal(raw, &f); err != nil {
				t.Errorf("%v in %s", err, raw)
			}
			if f.Code != 0 && (f.Message != f.Code.Message() || f.OK != f.Code.OK()) {
				t.Errorf("%s: want message %q, ok %t", raw, f.Code.Message(), f.Code.OK())
			}
		}
	}
	if examples < 10 {
		t.Errorf("the document has %d examples, want at least 10", examples)
	}
}
