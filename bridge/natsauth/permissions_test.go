package natsauth_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/bridgetest"
	"imctl/embedded"
	"imctl/kv"
)

// roles are the roles of NATS clients. In the subjects below, SELF is the client's own id or name, OTHER is the id of
// another user, and OTHERS is the name of another consumer.
var roles = []string{"user", "consumer", "moderator", "auth", "bridge", "admin"}

// mayPublish lists the roles that may publish to a subject. All other roles are refused.
var mayPublish = []struct {
	subject string
	roles   string
}{
	{"im.send.SELF", "user bridge admin"},
	{"im.call.SELF.found", "user bridge admin"},
	{"im.send.OTHER", "bridge admin"},
	{"im.call.OTHER.profile", "bridge admin"},
	{"im.user.SELF.dialogue", "bridge admin"},
	{"im.user.OTHER.dialogue", "bridge admin"},
	{"im.user.OTHER.notice", "bridge admin"},
	{"im.node.0123456789abcdef", "bridge admin"},
	{"im.log.dialogue.OTHER.SELF", "bridge admin"},
	{"im.hook.dialogue.OTHER.SELF", "bridge admin"},
	{"im.hook.register", "bridge admin"},
	{"im.auth.login", "bridge admin"},
	{"im.admin.none.list", "admin"},
	{"im.admin.none.delete", "admin"},
	{"$SRV.PING", ""},
	{"$SRV.INFO.imctl", "admin"},
	{"_INBOX.SELF.x", "bridge admin"},
	{"_INBOX.OTHER.x", "bridge admin"},
	{"$KV.im_users.none", "bridge admin"},
	{"$KV.im_tokens.none", "bridge admin"},
	{"$KV.im_friendships.none", "bridge admin"},
	{"$KV.foreign.none", ""},
	{"$KV.im_users.attach.none.none", "bridge admin"}, // a bridge stores what administrators ask it to
	{"$JS.API.INFO", "bridge admin"},
	{"$JS.API.STREAM.LIST", ""},
	{"$JS.API.STREAM.CREATE.own", ""},
	{"$JS.API.STREAM.INFO.KV_im_users", "bridge admin"},
	{"$JS.API.STREAM.MSG.GET.KV_im_users", "bridge admin"},
	{"$JS.API.DIRECT.GET.KV_im_users.$KV.im_users.user.OTHER", "bridge admin"},
	{"$JS.API.STREAM.INFO.IM_LOG", "bridge admin"},
	{"$JS.API.STREAM.MSG.GET.IM_LOG", "bridge admin"},
	{"$JS.API.CONSUMER.CREATE.IM_LOG.own", "bridge admin"},
	{"$JS.API.CONSUMER.DURABLE.CREATE.IM_LOG.own", "bridge admin"},
	{"$JS.API.CONSUMER.LIST.IM_LOG", "bridge admin"},
	{"$JS.API.CONSUMER.INFO.IM_LOG.SELF", "consumer bridge admin"},
	{"$JS.API.CONSUMER.INFO.IM_LOG.OTHERS", "bridge admin"},
	{"$JS.API.CONSUMER.MSG.NEXT.IM_LOG.SELF", "consumer bridge admin"},
	{"$JS.API.CONSUMER.MSG.NEXT.IM_LOG.OTHERS", "bridge admin"},
	{"$JS.API.CONSUMER.DELETE.IM_LOG.none", "bridge admin"},
	{"$JS.ACK.IM_LOG.SELF.1.1.1.1.0", "consumer bridge admin"},
	{"$JS.ACK._.HASH.IM_LOG.SELF.1.1.1.1.0", "consumer bridge admin"},
	{"$JS.ACK._.HASH.IM_LOG.SELF.1.1.1.1.0.RANDOM", "consumer bridge admin"},
	{"$JS.ACK.IM_LOG.OTHERS.1.1.1.1.0", "bridge admin"},
	{"$JS.ACK._.HASH.IM_LOG.OTHERS.1.1.1.1.0", "bridge admin"},
	{"$JS.ACK.IM_LOG.OTHERS.IM_LOG.SELF.1.1.1", "bridge admin"},
	{"$JS.ACK._.HASH.IM_LOG.OTHERS.IM_LOG.SELF.1", ""},
	{"$JS.ACK.IM_LOG.SELF.1.1.1.1", ""},
	{"$JS.FC.IM_LOG.SELF.1", "bridge admin"},
	{"$SYS.REQ.USER.AUTH", ""},
	{"$SYS.REQ.SERVER.PING.CONNZ", ""},
	{"$SYS.REQ.SERVER.none.KICK", ""},
	{"$SYS.REQ.SERVER.none.RELOAD", ""},
	{"foreign.subject", ""},
	{"chat.user.OTHER.dialogue", ""},
	{"chat.admin.user.list", ""},
	{"$SRV.INFO.imctl-chat", ""},
	{"$KV.chat_users.none", ""},
	{"$JS.API.STREAM.INFO.KV_chat_users", ""},
	{"$JS.API.STREAM.DELETE.CHAT_LOG", ""},
	{"$JS.API.STREAM.MSG.GET.KV_chat_users", ""},
	{"$JS.API.DIRECT.GET.KV_chat_users.$KV.chat_users.user.OTHER", ""},
	{"$JS.API.CONSUMER.CREATE.KV_chat_users.IM_LOG.none", ""}, // the name of a stream of its own as that of the consumer
	{"$JS.API.CONSUMER.DURABLE.CREATE.CHAT_LOG.IM_LOG", ""},
	{"$JS.API.CONSUMER.MSG.NEXT.CHAT_LOG.IM_LOG", ""},
	{"$JS.ACK.CHAT_LOG.IM_LOG.1.1.1.1.0", ""},
	{"$JS.ACK._.HASH.CHAT_LOG.IM_LOG.1.1.1.1.0", ""},
	{"$JS.SNAPSHOT.RESTORE.CHAT_LOG.none", ""},
}

// maySubscribe lists the roles that may subscribe to a subject.
var maySubscribe = []struct {
	subject string
	roles   string
}{
	{"im.user.SELF.dialogue", "user bridge admin"},
	{"im.user.SELF.>", "user bridge admin"},
	{"_INBOX.SELF.>", "user consumer moderator auth bridge admin"},
	{"im.user.OTHER.dialogue", "bridge admin"},
	{"im.user.*.dialogue", "bridge admin"},
	{"im.user.>", "bridge admin"},
	{"im.>", "bridge admin"},
	{"im.send.SELF", "bridge admin"},
	{"im.send.*", "bridge admin"},
	{"im.call.>", "bridge admin"},
	{"im.log.>", "bridge admin"},
	{"im.hook.>", "moderator bridge admin"},
	{"im.hook.dialogue.*.*", "moderator bridge admin"},
	{"im.auth.>", "auth bridge admin"},
	{"im.auth.login", "auth bridge admin"},
	{"im.admin.>", "bridge admin"},
	{"im.node.*", "bridge admin"},
	{"_INBOX.OTHER.>", "bridge admin"},
	{"_INBOX.*.>", "bridge admin"},
	{"_INBOX.>", "bridge admin"},
	{"_INBOX.*", "bridge admin"},
	{"_INBOX.SELF", "bridge admin"},
	{"*.SELF.>", ""},
	{"$KV.im_users.>", "bridge admin"},
	{"$JS.EVENT.ADVISORY.CONSUMER.CREATED.IM_LOG.>", "bridge admin"},
	{"$JS.EVENT.ADVISORY.>", ""},
	{"$SRV.PING", "bridge admin"},
	{"$SRV.INFO.imctl", "bridge admin"},
	{"$SRV.>", ""},
	{"$KV.>", ""},
	{"$JS.>", ""},
	{"$JS.API.>", ""},
	{"$JS.ACK.>", ""},
	{"$SYS.>", ""},
	{"$SYS.REQ.USER.AUTH", ""},
	{"*", ""},
	{"*.>", ""},
	{">", ""},
	{"foreign.subject", ""},
	{"chat.user.OTHER.dialogue", ""},
	{"chat.log.>", ""},
	{"chat.hook.>", ""},
	{"chat.auth.login", ""},
	{"$KV.chat_users.>", ""},
	{"$JS.EVENT.ADVISORY.CONSUMER.CREATED.CHAT_LOG.>", ""},
}

// TestRoles checks each subject with a client of each role.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	p, other := s.Register(t), s.Register(t)
	self := map[string]string{"user": p.ID, "consumer": "archive", "moderator": "filter", "auth": "directory", "bridge": "second", "admin": "root"}
	clients := map[string]*bridgetest.Client{"user": s.AsUser(t, p)}
	s.AddAttachment(t, "archive-2", kv.RoleConsumer, "")
	for _, role := range roles[1:] {
		clients[role] = s.AsAttachment(t, s.AddAttachment(t, self[role], kv.Role(role), ""))
	}
	for _, role := range roles {
		c := clients[role]
		spell := strings.NewReplacer("HASH", accountHash(embedded.Account), "SELF", self[role], "OTHERS", "archive-2", "OTHER", other.ID).Replace
		for _, r := range mayPublish {
			err := tried(t, c, func(subject string) error { return c.Publish(subject, nil) }, spell(r.subject))
			wantAllowed(t, role+" publishes on "+r.subject, err, slices.Contains(strings.Fields(r.roles), role))
		}
		for _, r := range maySubscribe {
			err := tried(t, c, func(subject string) error {
				// A subscription that covers the sentinel is ended like the others: no client may publish to the sentinel.
				sub, err := c.SubscribeSync(subject)
				if err == nil && sub.Subject != sentinel {
					t.Cleanup(func() { sub.Unsubscribe() })
				}
				return err
			}, spell(r.subject))
			wantAllowed(t, role+" subscribes to "+r.subject, err, slices.Contains(strings.Fields(r.roles), role))
		}
	}
}

// sentinel is a subject that NATS refuses to all roles. An error about it arrives after the errors of earlier
// operations.
const sentinel = "_GR_.end"

// tried calls do and returns the permission error of NATS, if there is one.
func tried(t *testing.T, c *bridgetest.Client, do func(subject string) error, subject string) error {
	t.Helper()
	if err := do(subject); err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	if err := c.Publish(sentinel, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-c.Errs:
		if strings.Contains(err.Error(), sentinel) {
			return nil
		}
		select {
		case <-c.Errs: // about the sentinel
		case <-time.After(bridgetest.WaitTimeout):
			t.Fatal("the sentinel was not refused")
		}
		return err
	case <-time.After(bridgetest.WaitTimeout):
		t.Fatal("the sentinel was not refused")
	}
	return nil
}

func wantAllowed(t *testing.T, what string, err error, allowed bool) {
	t.Helper()
	if allowed && err != nil || !allowed && !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("%s: got error %v, want allowed: %t", what, err, allowed)
	}
}

// TestUserHasNoJetStream checks that a user cannot read the buckets with the client library.
func TestUserHasNoJetStream(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	p := s.Register(t)
	archive := s.AsAttachment(t, s.AddAttachment(t, "archive", kv.RoleConsumer, ""))
	for name, c := range map[string]*bridgetest.Client{"user": s.AsUser(t, p), "consumer": archive} {
		js, err := jetstream.New(c.Conn)
		if err != nil {
			t.Fatal(err)
		}
		// NATS does not answer denied requests. Its permission error ends the wait.
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for range 3 {
				select {
				case <-c.Errs:
				case <-t.Context().Done():
				}
			}
			cancel()
		}()
		var wg sync.WaitGroup
		for what, do := range map[string]func() error{
			"read a bucket": func() error { _, err := js.KeyValue(ctx, "im_users"); return err },
			"make a stream": func() error {
				_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "own", Subjects: []string{"own"}})
				return err
			},
			"make a consumer": func() error {
				_, err := js.CreateConsumer(ctx, "IM_LOG", jetstream.ConsumerConfig{Durable: "own"})
				return err
			},
		} {
			wg.Go(func() {
				if err := do(); err == nil {
					t.Errorf("%s: %s", name, what)
				}
			})
		}
		wg.Wait()
		cancel()
	}
}
