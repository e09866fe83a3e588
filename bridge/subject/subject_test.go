package subject

import (
	"strings"
	"testing"
)

const (
	im   = Prefix("im")
	chat = Prefix("chat")
)

func TestNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{im.All(), "im.>"},
		{im.Dialogue("a"), "im.user.a.dialogue"},
		{im.Notice("a"), "im.user.a.notice"},
		{im.Live("a"), "im.user.a.*"},
		{im.User("a"), "im.user.a.>"},
		{im.Nowhere("a"), "im.user.a-nowhere.dialogue"},
		{im.Send("a"), "im.send.a"},
		{im.SendAny(), "im.send.*"},
		{im.Call("a", "add"), "im.call.a.add"},
		{im.CallAny(), "im.call.*.*"},
		{im.CallsOf("a"), "im.call.a.>"},
		{im.Taken("n", "a", "b", 7), "im.taken.n.a.b.7"},
		{im.TakenAny(), "im.taken.*.*.*.*"},
		{im.Node("n"), "im.node.n"},
		{im.Admin("user", "list"), "im.admin.user.list"},
		{im.AdminAll(), "im.admin.>"},
		{im.Log("user", "created", "a"), "im.log.user.created.a"},
		{im.LogAll(), "im.log.>"},
		{im.LogDialogue("a", "b"), "im.log.dialogue.a.b"},
		{im.TrimLog("im.log.dialogue.a.b"), "dialogue.a.b"},
		{im.LogStream(), "IM_LOG"},
		{im.LogRestoreStream(), "IM_LOG_RESTORE"},
		{im.LogRestore(), "im.restore.log"},
		{im.AuditStream(), "IM_AUDIT"},
		{im.Audit("user", 3), "im.audit.user.3"},
		{im.AuditOf("user"), "im.audit.user.*"},
		{im.AuditAll(), "im.audit.>"},
		{im.TalkStream(), "IM_TALKS"},
		{im.Talk("a", "b"), "im.talk.a.b"},
		{im.Talk("b", "a"), "im.talk.a.b"},
		{strings.Join(im.TalksOf("a"), " "), "im.talk.a.* im.talk.*.a"},
		{im.TalkAll(), "im.talk.>"},
		{strings.Join(im.AllBuckets(), " "), "im_users im_tokens im_friendships im_users_b im_tokens_b im_friendships_b im_state"},
		{BucketStream("im_users"), "KV_im_users"},
		{BucketKeys("im_users"), "$KV.im_users."},
		{Inbox("a"), "_INBOX.a"},
		{im.UserConn("a"), "user:a"},
		{im.AttachmentConn("a"), "attach:a"},
		{im.AttachmentInbox("a"), "_INBOX.a"},
		{im.QueueGroup(), "imctl"},
		{chat.UserConn("a"), "user:chat:a"},
		{chat.AttachmentConn("a"), "attach:chat:a"},
		{chat.AttachmentInbox("a"), "_INBOX.chat:a"},
		{chat.QueueGroup(), "imctl-chat"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]struct {
		user string
		leaf Leaf
	}{
		im.Dialogue("a"): {"a", Dialogue}, im.Notice("a"): {"a", Notice},
		"im.user.a.other": {"a", Unknown}, "im.user.a": {"a", Unknown}, "im.user.": {"", Unknown}, "im": {"", Unknown},
	} {
		if user, leaf := im.ParseLive(subject); user != want.user || leaf != want.leaf {
			t.Errorf("ParseLive(%q) = %q, %d, want %q, %d", subject, user, leaf, want.user, want.leaf)
		}
	}
	if user := im.ParseSend(im.Send("a")); user != "a" {
		t.Errorf("ParseSend: %q", user)
	}
	if user, call := im.ParseCall(im.Call("a", "add")); user != "a" || call != "add" {
		t.Errorf("ParseCall: %q, %q", user, call)
	}
	if user, from, n, ok := im.ParseTaken(im.Taken("n", "a", "b", 7)); user != "a" || from != "b" || n != 7 || !ok {
		t.Errorf("ParseTaken: %q, %q, %d, %t", user, from, n, ok)
	}
	for subject, want := range map[string]bool{im.Taken("n", "a", "b", 7): true, im.Taken("nn", "a", "b", 7): false, "im.taken.n": false, "": false} {
		if got := im.IsTaken(subject, "n"); got != want {
			t.Errorf("IsTaken(%q) = %t", subject, got)
		}
	}
	for subject, want := range map[string]bool{"_INBOX.a.x": true, "_INBOX.ab.x": false, "_INBOX.a": false, "im.user.a.dialogue": false} {
		if got := InInbox(subject, "a"); got != want {
			t.Errorf("InInbox(%q) = %t", subject, got)
		}
	}
	for _, c := range []struct {
		prefix                 Prefix
		conn, user, attachment string
	}{
		{im, "user:a", "a", ""}, {im, "attach:a", "", "a"}, {im, "admin", "", ""}, {im, "user:chat:a", "", ""}, {im, "attach:chat:a", "", ""},
		{chat, "user:chat:a", "a", ""}, {chat, "attach:chat:a", "", "a"}, {chat, "user:a", "", ""}, {chat, "attach:other:a", "", ""},
	} {
		if user, attachment := c.prefix.ParseConn(c.conn); user != c.user || attachment != c.attachment {
			t.Errorf("%s: ParseConn(%q) = %q, %q", c.prefix, c.conn, user, attachment)
		}
	}
}

func TestParseTalk(t *testing.T) {
	t.Parallel()
	if a, b, ok := im.ParseTalk(im.Talk("b", "a")); a != "a" || b != "b" || !ok {
		t.Errorf("ParseTalk: %q, %q, %t", a, b, ok)
	}
	for _, subject := range []string{"im.talk.b.a", "im.talk.a.a", "im.talk.a", "im.talk.a.b.c", "im.talk..b", "im.log.a.b", "im.talk", ""} {
		if _, _, ok := im.ParseTalk(subject); ok {
			t.Errorf("ParseTalk accepts %q", subject)
		}
	}
}

func TestIncludes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filter, other string
		want          bool
	}{
		{">", "a", true}, {">", "a.b", true}, {">", ">", true}, {"a.>", "a.b.c", true}, {"a.>", "a", false}, {"a.>", "b.c", false},
		{"a.*", "a.b", true}, {"a.*", "a.b.c", false}, {"a.*", "a.>", false}, {"a.b", "a.*", false}, {"a.*.c", "a.b.*", false},
		{"a.b", "a.b", true}, {"a.b.c", "a.b", false}, {"*.b", "a.*", false}, {"a.>", "a.*", true},
	} {
		if got := Includes(c.filter, c.other); got != c.want {
			t.Errorf("Includes(%q, %q) = %t", c.filter, c.other, got)
		}
	}
}

func TestValidFilter(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]bool{
		">": true, "dialogue.>": true, "user.*.a": true,
		"": false, "a..b": false, ">.a": false, "a*": false, "a b": false, "ä": false,
		strings.Repeat("a", 256): true, strings.Repeat("a", 257): false,
	} {
		if got := ValidFilter(filter); got != want {
			t.Errorf("ValidFilter(%q) = %t", filter, got)
		}
	}
}
