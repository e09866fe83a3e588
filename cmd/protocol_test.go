package cmd

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// namedDeployment is a deployment on which TestProtocol runs.
type namedDeployment struct {
	name  string
	start func(testing.TB) deployment
}

// deployments are the deployments on which TestProtocol runs. moreDeployments are those of long runs.
var deployments = []namedDeployment{
	{"plain", func(t testing.TB) deployment { return start(t, tableSettings) }},
	{"TLS", func(t testing.TB) deployment { return start(t, tableSettings, overTLS) }},
	{"cluster of three, round robin", func(t testing.TB) deployment { return &roundRobin{bridges: startCluster(t, 3, tableSettings)} }},
	{"two servers, round robin", func(t testing.TB) deployment { return &roundRobin{bridges: startBridges(t, 2, tableSettings)} }},
}

// tableSettings changes the settings that the tables of TestProtocol rely on.
func tableSettings(c *Config) {
	c.Sessions.PerUser = 3
	c.Sessions.MaxFrame = 4 * KiB
	c.HTTP.Origins = []string{"https://app.example.org"}
	c.Limits.Picture = KiB
	c.Passwords.MaxLength = 32
	c.Dialogues.Timeout = 2 * waitTimeout // longer than any test waits, since no test may depend on this timeout
}

// TestProtocol runs all tables on all deployments. The tables of a deployment run at the same time on the same
// servers, so each runs during the traffic of the others.
func TestProtocol(t *testing.T) {
	t.Parallel()
	for _, d := range slices.Concat(deployments, moreDeployments) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, d.start(t))
			for name, table := range map[string]func(*testing.T, *world){
				"paths":                     testPaths,
				"register":                  testRegister,
				"register: refusals":        testRegisterRefusals,
				"register: folding":         testRegisterFolding,
				"register: look-alikes":     testNames,
				"register: no listing":      testAccountsNotListed,
				"login":                     testLogin,
				"login: refusals":           testLoginRefusals,
				"login: not a WebSocket":    testLoginPlain,
				"login: origins":            testOrigins,
				"login: friends, requests":  testLoginLists,
				"calls: order of checks":    testCallChecks,
				"calls: own fields":         testCallFields,
				"found":                     testFound,
				"found: fifty":              testFoundFifty,
				"request":                   testRequest,
				"add":                       testAdd,
				"remove":                    testRemove,
				"dialogue":                  testDialogue,
				"dialogue: refusals":        testDialogueRefusals,
				"dialogue: byte for byte":   testDialogueBytes,
				"dialogue: offline":         testDialogueOffline,
				"dialogue: friends only":    testDialogueFriendship,
				"dialogue: several devices": testDevices,
				"dialogue: five hundred":    testFiveHundred,
				"tunnel: 513":               testGivesWay,
				"tunnel: 509":               testBinary,
				"tunnel: frames":            testFrames,
				"push":                      testPush,
				"profile":                   testProfile,
				"disabled":                  testDisabled,
				"deleted":                   testDeleted,
				"password":                  testPassword,
			} {
				if clustered := strings.HasPrefix(d.name, "cluster"); clustered && name == "dialogue: offline" {
					// Other nodes hear some milliseconds later that a user has left. NATS drops what they send meanwhile, so
					// these dialogues are answered 507 after dialogues.timeout, and the friend may get them at its next login.
					continue
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					table(t, w)
				})
			}
			for name, table := range keptTables {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					table(t, w)
				})
			}
		})
	}
}

// testPaths checks that undocumented paths are answered 404, and documented paths with a code for any method.
func testPaths(t *testing.T, w *world) {
	for _, path := range []string{
		"/im", "/im/", "/im/register/", "/im/registered", "/im/friends", "/im/friends/", "/im/friends/found/", "/im/friends/find",
		"/im/login/", "/im/login/im", "/im/login/im/login/x", "/im/www/v1/none.html", "/im/www/v2/chat.html", "/register", "/robots.txt",
	} {
		if r := w.do(t, 0, http.MethodGet, path, ""); r.status != http.StatusNotFound {
			t.Errorf("GET %s: %d %s", path, r.status, r.body)
		}
	}
	calls := map[string]string{"/im/register": "POST", "/im/friends/found": "GET", "/im/friends/request": "GET",
		"/im/friends/add": "GET", "/im/friends/remove": "GET", "/im/login": "", "/im/login/im/login": ""}
	for path, documented := range calls {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "ODD"} {
			if method != documented {
				w.do(t, 0, method, path, "").want(t, method+" "+path, replyBody(403))
			}
		}
		if r := w.do(t, 0, http.MethodHead, path, ""); r.status != http.StatusOK || r.body != "" {
			t.Errorf("HEAD %s: %d %q", path, r.status, r.body)
		}
	}
	if r := w.do(t, 0, http.MethodPost, "/im/www/v1/chat.html", ""); r.status != http.StatusMethodNotAllowed {
		t.Errorf("POST of the page: %d", r.status)
	}
	page := w.do(t, 0, http.MethodGet, "/im/www/v1/chat.html", "")
	if page.status != http.StatusOK || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") {
		t.Errorf("the page: %d, %v", page.status, page.header)
	}
	policy := page.header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || page.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the page's headers: %v", page.header)
	}
	if secure := page.header.Get("Strict-Transport-Security") != ""; secure != (w.trust() != nil) {
		t.Errorf("Strict-Transport-Security with TLS %t: %v", w.trust() != nil, page.header)
	}
}
