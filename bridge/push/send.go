package push

import (
	"context"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/SherClockHolmes/webpush-go"

	"imctl/bridge/outbound"
	"imctl/kv"
)

// maxRunes is the most that a message has of a text, in characters.
const maxRunes = 240

// ttl is how long a push service keeps a message for a device that is offline.
const ttl = 7 * 24 * time.Hour

// payload is a message as the device sees it.
type payload struct {
	With     string `json:"with"` // id of the other user
	Name     string `json:"name,omitempty"`
	Text     string `json:"text,omitempty"`
	N        uint64 `json:"n"`
	Request  bool   `json:"request,omitempty"` // the other user asks for the friendship
	Language string `json:"language,omitempty"`
}

// deliver finds out whether a message is still wanted, and sends it. Errors: those of NATS, with which nothing was sent.
func (s *Service) deliver(ctx context.Context, m *message) error {
	if !m.request && s.opts.Talks.Acknowledged(m.user, m.with) >= m.n {
		s.metrics.count(acknowledged)
		return nil
	}
	all, err := s.opts.Store.Push.List(ctx, m.user)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		s.without.Add(m.user, struct{}{})
		return nil
	}
	why, name, err := s.wanted(ctx, m)
	if err != nil {
		return err
	}
	if why != sent {
		s.metrics.count(why)
		return nil
	}
	keys, err := s.opts.Store.Push.Keys(ctx)
	if err != nil {
		return err
	}
	for _, sub := range all {
		if m.only != "" && m.only != sub.ID() {
			continue
		}
		over, err := s.signInOver(ctx, m.user, time.Since(sub.Login))
		if err != nil {
			return err
		}
		if over {
			s.remove(ctx, m.user, sub)
			continue
		}
		if m.only == "" {
			s.supersede(m, sub.ID())
		}
		s.send(ctx, m, sub, keys, name)
	}
	return nil
}

// signInOver reports whether the login of a user is too long ago for its subscriptions.
func (s *Service) signInOver(ctx context.Context, user string, age time.Duration) (bool, error) {
	if s.opts.MaxAge > 0 && age > s.opts.MaxAge {
		return true, nil
	}
	if s.opts.SignInAge == 0 || age <= s.opts.SignInAge {
		return false, nil
	}
	u, err := s.opts.Store.Users.Get(ctx, user)
	if errors.Is(err, kv.ErrUserNotFound) {
		return true, nil
	}
	return u.External.Source != "", err
}

// wanted returns sent if the message is to be sent, with the other user's name as the user sees it.
func (s *Service) wanted(ctx context.Context, m *message) (outcome, string, error) {
	roster, _, err := s.opts.Store.Rosters.Get(ctx, m.user)
	if err != nil {
		return 0, "", err
	}
	friend, isFriend := roster.Friend(m.with)
	if m.request {
		if _, asks := roster.Request(m.with); !asks {
			return unwanted, "", nil
		}
	} else {
		if !isFriend || roster.Blocks(m.with) {
			return unwanted, "", nil
		}
		cursors, err := s.opts.Talks.Cursors(ctx, m.user)
		if err != nil {
			return 0, "", err
		}
		c := cursors[m.with]
		if max(c.Got, c.Read, c.Forgot) >= m.n {
			return acknowledged, "", nil
		}
		if c.Marks.Muted() {
			return muted, "", nil
		}
	}
	if friend.Alias != "" {
		return sent, friend.Alias, nil
	}
	u, err := s.opts.Store.Users.Get(ctx, m.with)
	if errors.Is(err, kv.ErrUserNotFound) {
		return unwanted, "", nil
	}
	return sent, u.Name, err
}

// send sends a message to one subscription, and decides what follows from the answer.
func (s *Service) send(ctx context.Context, m *message, sub kv.PushSubscription, keys kv.PushKeys, name string) {
	status, wait, err := s.post(ctx, m, sub, keys, name)
	switch {
	case s.ctx.Err() != nil:
	case err == nil && status >= 200 && status < 300:
		s.metrics.count(sent)
	case err == nil && (status == http.StatusNotFound || status == http.StatusGone):
		s.metrics.count(gone)
		s.remove(ctx, m.user, sub)
	case errors.Is(err, outbound.ErrPrivate):
		s.metrics.count(refused)
		s.opts.Log.Warn("the push service of a user has an address of a private network; set push.private to allow it", "user", m.user)
	case (err != nil || status == http.StatusTooManyRequests || status >= 500) && m.attempt < maxAttempts:
		s.metrics.count(retried)
		s.opts.Log.Debug("a push service does not take a message", "user", m.user, "status", status, "err", err)
		s.retry(m, sub.ID(), min(max(wait, s.backoff(m)), maxRetry))
	default:
		s.metrics.count(failed)
		s.opts.Log.Warn("a push service refuses a message", "user", m.user, "status", status, "err", err)
	}
}

// remove removes a subscription that is no longer valid.
func (s *Service) remove(ctx context.Context, user string, sub kv.PushSubscription) {
	if err := s.opts.Store.Push.Remove(ctx, user, sub.ID()); err != nil {
		s.opts.Log.Debug("remove a push subscription", "user", user, "err", err) // the next message tries again
	}
}

// post posts a message. It returns the status of the answer, and the time that a Retry-After asks for. The error does not
// show the endpoint, which is a secret.
func (s *Service) post(ctx context.Context, m *message, sub kv.PushSubscription, keys kv.PushKeys, name string) (status int, wait time.Duration, err error) {
	p := payload{With: m.with, N: m.n, Request: m.request, Language: sub.Language}
	if sub.Text {
		p.Name, p.Text = name, cut(m.text)
	}
	body, err := json.Marshal(p)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	response, err := webpush.SendNotificationWithContext(ctx, body, &webpush.Subscription{Endpoint: sub.Endpoint, Keys: webpush.Keys{Auth: sub.Auth, P256dh: sub.P256dh}},
		&webpush.Options{HTTPClient: s.client, Subscriber: strings.TrimPrefix(s.opts.Subject, "mailto:"), TTL: int(ttl.Seconds()), Urgency: webpush.UrgencyHigh,
			Topic: topic(sub, m.key), VAPIDPublicKey: keys.Public, VAPIDPrivateKey: keys.Private})
	if err != nil {
		return 0, 0, withoutURL(err)
	}
	defer response.Body.Close()
	// The body lets the connection be used again. An error here changes nothing: the status has come.
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
	return response.StatusCode, outbound.RetryAfter(response.Header, time.Now(), maxRetry), nil
}

// topic returns the topic of a conversation: a push service keeps only the newest message of a topic. It tells the push
// service nothing of the two users.
func topic(sub kv.PushSubscription, k key) string {
	mac := hmac.New(sha256.New, []byte(sub.Auth))
	fmt.Fprint(mac, k.with, k.request)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:24]) // 32 characters, the most that RFC 8030 allows
}

// cut returns the beginning of a JSON text, which may itself be cut.
func cut(raw []byte) (text string) {
	if json.Unmarshal(raw, &text) != nil {
		// The text was cut within a character or an escape, the longest of which has 12 bytes.
		for end := len(raw); end > max(1, len(raw)-12); end-- {
			if json.Unmarshal(append(raw[:end:end], '"'), &text) == nil {
				break
			}
		}
		text = strings.TrimRight(text, "\uFFFD") + "…"
	}
	if runes := []rune(text); len(runes) > maxRunes {
		return string(runes[:maxRunes]) + "…"
	}
	return text
}

// withoutURL returns an error of an HTTP client without the URL.
func withoutURL(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	var lookup *net.DNSError
	if errors.As(err, &lookup) {
		return errors.New("the name of the push service cannot be resolved")
	}
	return err
}

// Check returns nil for a subscription that may be stored. Errors: ErrSubscription.
func (s *Service) Check(sub kv.PushSubscription) error {
	u, err := url.Parse(sub.Endpoint)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return ErrSubscription
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !outbound.Allowed(ip, s.opts.Private) {
		return ErrSubscription
	}
	public, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(sub.P256dh, "="))
	if err != nil {
		return ErrSubscription
	}
	if _, err := ecdh.P256().NewPublicKey(public); err != nil {
		return ErrSubscription
	}
	if secret, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(sub.Auth, "=")); err != nil || len(secret) != 16 {
		return ErrSubscription
	}
	return nil
}

// Key returns the public VAPID key, base64url.
func (s *Service) Key(ctx context.Context) (string, error) {
	keys, err := s.opts.Store.Push.Keys(ctx)
	return keys.Public, err
}

// Add stores a subscription of a user. Errors: ErrSubscription, kv.ErrReadOnly.
func (s *Service) Add(ctx context.Context, user string, sub kv.PushSubscription) error {
	if err := s.Check(sub); err != nil {
		return err
	}
	err := s.opts.Store.Push.Add(ctx, user, sub)
	s.without.Remove(user)
	return err
}

// Remove removes the subscription of a user with that endpoint. A missing one is no error.
func (s *Service) Remove(ctx context.Context, user, endpoint string) error {
	return s.opts.Store.Push.Remove(ctx, user, kv.PushSubscription{Endpoint: endpoint}.ID())
}
