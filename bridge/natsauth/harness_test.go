package natsauth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"imctl/bridge/bridgetest"
	"imctl/bridge/wire"
)

// replyBody returns the exact answer to a call with this code.
func replyBody(code wire.Code) string {
	return fmt.Sprintf(`{"code":%d,"message":%q,"ok":%t}`, code, code.Message(), code == 200)
}

// replyFrame returns the exact answer to a dialogue. id is the JSON text of its id.
func replyFrame(id string, code wire.Code) string {
	return strings.TrimSuffix(replyBody(code), "}") + `,"id":` + id + `}`
}

// dialogue returns the frame that sends a dialogue. id and payload are JSON texts.
func dialogue(id, to, payload string) string {
	return `{"id":` + id + `,"toFriend":"` + to + `","payload":` + payload + `}`
}

// dialogueFrame returns the frame that the friend receives.
func dialogueFrame(id, from, payload string) string {
	return `{"id":` + id + `,"from":"` + from + `","payload":` + payload + `}`
}

// eventually waits until cond returns true, where no signal can be awaited. what describes the condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline, tick := time.After(bridgetest.WaitTimeout), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("timeout waiting for: %s", what)
		case <-tick.C:
		}
	}
}

// call makes a call over HTTP with the id and token of a user, and returns the body of the answer. A GET has the fields
// in its query.
func call(t testing.TB, s *bridgetest.Server, u bridgetest.User, method, path string, fields map[string]string) string {
	t.Helper()
	all, query := map[string]string{"id": u.ID, "token": u.Token}, url.Values{"id": {u.ID}, "token": {u.Token}}
	for k, v := range fields {
		all[k] = v
		query.Set(k, v)
	}
	body, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	address := s.URL + path
	if method == http.MethodGet {
		address += "?" + query.Encode()
		body = nil
	}
	q, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v", path, r.StatusCode, err)
	}
	return string(answer)
}
