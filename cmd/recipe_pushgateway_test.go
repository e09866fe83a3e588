//go:build unix

package cmd

import (
	"strings"
	"testing"
)

// TestRecipePushGateway: a dialogue to a user that is offline becomes a notification, also if the gateway was down.
func TestRecipePushGateway(t *testing.T) {
	t.Parallel()
	out := runRecipe(t, "A push gateway", "node")
	for _, want := range []string{"push: 200 in", `"code":202`, `notification {"to":"ben","title":"Ada","body":"1 unread","badge":1}`, `notification {"to":"ben","title":"Ada","body":"2 unread","badge":2}`} {
		if !strings.Contains(out, want) {
			t.Errorf("the output has no %s:\n%s", want, out)
		}
	}
}
