package subject

import (
	"slices"
	"testing"
)

func TestGateway(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		im.Gateway("matrix", "register"):         "im.gateway.matrix.register",
		im.Gateway("*", "call", "*", "*"):        "im.gateway.*.call.*.*",
		im.GatewayDialogue("matrix", "a"):        "im.gateway.matrix.dialogue.a",
		chat.GatewayNotice("matrix", "a"):        "chat.gateway.matrix.notice.a",
		im.Gateway("matrix", "online", "n", "s"): "im.gateway.matrix.online.n.s",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if name, words := im.ParseGateway("im.gateway.matrix.call.a.found"); name != "matrix" || !slices.Equal(words, []string{"call", "a", "found"}) {
		t.Errorf("ParseGateway: %s, %v", name, words)
	}
	if name, words := im.ParseGateway("chat.gateway.matrix.register"); name != "" || words != nil {
		t.Errorf("ParseGateway of another installation: %s, %v", name, words)
	}
}
