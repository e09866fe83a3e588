package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"imctl/bridge/outbound"
	"imctl/kv"
)

// maxAnswer is how much of an answer is read, so that the connection can be used again.
const maxAnswer = 16 << 10

// sender posts events.
type sender struct {
	client  *http.Client
	private bool
	agent   string
}

func newSender(private bool, timeout time.Duration, roots *x509.CertPool) *sender {
	return &sender{client: outbound.NewClient(outbound.Options{Private: private, Timeout: timeout, PerHost: 8, RootCAs: roots}), private: private, agent: "imctl-webhook/1"}
}

// outcome is how a destination has taken an event.
type outcome struct {
	status int           // 0: there was no answer
	wait   time.Duration // that the destination asks for with Retry-After
	err    error         // of a request without an answer
	took   time.Duration
}

func (o outcome) ok() bool   { return o.err == nil && o.status >= 200 && o.status < 300 }
func (o outcome) gone() bool { return o.err == nil && o.status == http.StatusGone }

func (o outcome) result() string {
	switch {
	case o.ok():
		return resultOK
	case o.gone():
		return resultGone
	case errors.Is(o.err, outbound.ErrPrivate):
		return resultPrivate
	}
	return resultFailed
}

// Errors of requests that cannot be made.
var (
	errURL    = errors.New("the URL is not valid")
	errSecret = errors.New("the secret of the webhook is damaged: rotate it")
)

// problem says why there was no answer. The texts of most errors have the host of the URL, a name in the certificate of the
// destination, or the beginning of its answer. So problem uses none but those of the operating system.
func problem(err error) string {
	var (
		name    *net.DNSError
		system  syscall.Errno
		timeout net.Error
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		certs   *tls.CertificateVerificationError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, errURL), errors.Is(err, errSecret):
		return err.Error()
	case errors.As(err, &name):
		return "the name of the destination cannot be resolved"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "the destination did not answer in time"
	case errors.As(err, &system):
		return "the connection to the destination failed: " + system.Error()
	case errors.As(err, &host):
		return "the certificate of the destination is for another name"
	case errors.As(err, &unknown):
		return "the certificate of the destination is signed by an unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate of the destination has expired"
	case errors.As(err, &certs):
		return "the certificate of the destination is not valid"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the destination does not speak TLS"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the destination closed the connection without an answer"
	}
	return "the destination gave no valid answer"
}

// reason says what went wrong. It has neither the URL nor anything that the destination wrote.
func (o outcome) reason() string {
	switch {
	case errors.Is(o.err, outbound.ErrPrivate):
		return "the destination has an address of a private network: set webhooks.private to allow it"
	case o.err != nil:
		return problem(o.err)
	}
	return "the destination answered " + strings.TrimSpace(strconv.Itoa(o.status)+" "+http.StatusText(o.status))
}

// post makes one attempt.
func (s *sender) post(ctx context.Context, to string, e event, secrets []string) (o outcome) {
	began := time.Now()
	defer func() { o.took = time.Since(began) }()
	request, err := s.request(ctx, to, e, secrets, began)
	if err != nil {
		return outcome{err: err}
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return outcome{err: err}
	}
	defer answer.Body.Close()
	if _, err := io.CopyN(io.Discard, answer.Body, maxAnswer); err != nil && !errors.Is(err, io.EOF) {
		return outcome{err: fmt.Errorf("read the answer: %w", err)}
	}
	return outcome{status: answer.StatusCode, wait: outbound.RetryAfter(answer.Header, time.Now(), maxRetryAfter)}
}

func (s *sender) request(ctx context.Context, to string, e event, secrets []string, at time.Time) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(e.body))
	if err != nil {
		return nil, errURL
	}
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		key, err := standardwebhooks.NewWebhook(secret)
		if err == nil {
			signatures[i], err = key.Sign(e.id, at, e.body)
		}
		if err != nil {
			return nil, errSecret
		}
	}
	request.Header = http.Header{"Content-Type": {"application/json"}, "User-Agent": {s.agent}}
	request.Header.Set(standardwebhooks.HeaderWebhookID, e.id)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return request, nil
}

// maxRetryAfter is the longest wait that a destination may ask for.
const maxRetryAfter = 24 * time.Hour

// maxURL is the length of the longest URL.
const maxURL = 2048

// checkURL returns an error unless events may be posted to a URL. The address of a name is checked at each connection.
//
// Errors: kv.ErrWebhookInvalid.
func checkURL(to string, private bool) error {
	invalid := func(why string) error { return fmt.Errorf("%w: the URL %s", kv.ErrWebhookInvalid, why) }
	u, err := url.Parse(to)
	switch {
	case err != nil || u.Hostname() == "" || len(to) > maxURL:
		return invalid("is not valid: use one such as https://example.org/hooks")
	case u.Scheme != "https" && !(u.Scheme == "http" && private):
		return invalid("must begin with https://; http:// needs the setting webhooks.private")
	case u.User != nil:
		return invalid("must not have a user or password")
	case u.Fragment != "":
		return invalid("must not have a fragment")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !outbound.Allowed(ip, private) {
		if outbound.Allowed(ip, true) {
			return invalid("has an address of a private network: set webhooks.private to allow it")
		}
		return invalid("has an address that is never allowed")
	}
	return nil
}
