package mailer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	mailHost     = "mail.test"
	mailPassword = "pass:w@rd/+ é"
)

// mailServer is a real SMTP server in this process.
type mailServer struct {
	address string
	mails   chan sentMail
	auths   chan string // who tried to authenticate
	roots   *x509.CertPool
	refuse  string // what it says to every recipient, if it does
	silent  chan struct{}
}

type sentMail struct {
	from, to string
	raw      string
}

// startMail serves until the test ends: with TLS from the first byte, with STARTTLS, or without either.
func startMail(t *testing.T, overTLS, startTLS bool) *mailServer {
	t.Helper()
	m := &mailServer{mails: make(chan sentMail, 16), auths: make(chan string, 16), roots: x509.NewCertPool()}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{server: m}, nil }))
	s.Domain, s.ReadTimeout, s.WriteTimeout = mailHost, time.Minute, time.Minute
	s.EnableSMTPUTF8 = true
	s.ErrorLog = log.New(t.Output(), "smtp: ", 0)
	s.AllowInsecureAuth = !overTLS && !startTLS
	config := mailCertificate(t, m.roots)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = l.Addr().String()
	if overTLS {
		l = tls.NewListener(l, config)
	} else if startTLS {
		s.TLSConfig = config
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		// Sessions write to the log of the test, so they have to end before it.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err := s.Shutdown(ctx)
		_ = l.Close() // Shutdown does so itself, unless it comes before Serve
		if err := errors.Join(err, <-done); err != nil {
			t.Errorf("SMTP server: %v", err)
		}
	})
	return m
}

func mailCertificate(t *testing.T, roots *x509.CertPool) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{mailHost},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}, MinVersion: tls.VersionTLS12}
}

type mailSession struct {
	server *mailServer
	mail   sentMail
}

func (s *mailSession) Reset()        { s.mail = sentMail{} }
func (s *mailSession) Logout() error { return nil }

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		s.server.auths <- user
		if user != "im ctl" || password != mailPassword {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "no such user: " + user + " " + password}
		}
		return nil
	}), nil
}

func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	s.mail.from = from
	if s.server.silent != nil {
		<-s.server.silent
	}
	return nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.server.refuse != "" {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: s.server.refuse}
	}
	s.mail.to = to
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mail.raw = string(raw)
	s.server.mails <- s.mail
	return nil
}

// mailerTo is a mailer for a URL in which HOST stands for the server's address. The name mail.test leads there too.
func (m *mailServer) mailer(t *testing.T, url string) *Mailer {
	t.Helper()
	mailer, err := New(strings.ReplaceAll(url, "HOST", m.address), "imctl@example.org")
	if err != nil {
		t.Fatal(err)
	}
	mailer.roots = m.roots
	mailer.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, m.address)
	}
	return mailer
}

const mailUser = "im%20ctl:pass%3Aw%40rd%2F+%20%C3%A9@"

func TestMailArrives(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		overTLS, startTLS bool
		url               string
		user              string
	}{
		"plain, on this machine":     {url: "smtp://HOST"},
		"plain, with a user":         {url: "smtp://" + mailUser + "HOST", user: "im ctl"},
		"STARTTLS":                   {startTLS: true, url: "smtp://" + mailHost},
		"STARTTLS, with a user":      {startTLS: true, url: "smtp://" + mailUser + mailHost + ":587", user: "im ctl"},
		"TLS":                        {overTLS: true, url: "smtps://HOST"},
		"TLS by name, with a user":   {overTLS: true, url: "smtps://" + mailUser + mailHost, user: "im ctl"},
		"STARTTLS not on loopback":   {startTLS: true, url: "smtp://HOST"},
		"TLS on loopback, with user": {overTLS: true, url: "smtps://" + mailUser + "HOST/", user: "im ctl"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startMail(t, c.overTLS, c.startTLS)
			err := server.mailer(t, c.url).Send(t.Context(), "Tom <tom@example.org>", "Grüße", "Konto\n\n    Jürgen 🙂\n.\nend\n")
			if err != nil {
				t.Fatal(err)
			}
			wantMail(t, <-server.mails)
			select {
			case user := <-server.auths:
				if user != c.user {
					t.Errorf("authenticated as %q", user)
				}
			default:
				if c.user != "" {
					t.Error("did not authenticate")
				}
			}
		})
	}
}

func wantMail(t *testing.T, got sentMail) {
	t.Helper()
	if got.from != "imctl@example.org" || got.to != "tom@example.org" {
		t.Errorf("from %q to %q", got.from, got.to)
	}
	m, err := mail.ReadMessage(strings.NewReader(got.raw))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"From": "<imctl@example.org>", "To": "<tom@example.org>", "Subject": "Grüße", "Auto-Submitted": "auto-generated"} {
		if value, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get(key)); err != nil || value != want {
			t.Errorf("%s is %q, %v", key, value, err)
		}
	}
	if date, err := m.Header.Date(); err != nil || time.Since(date).Abs() > time.Minute || m.Header.Get("Message-Id") == "" {
		t.Errorf("date %v, %v, id %q", date, err, m.Header.Get("Message-Id"))
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if text := strings.ReplaceAll(string(body), "\r\n", "\n"); err != nil || strings.TrimSpace(text) != "Konto\n\n    Jürgen 🙂\n.\nend" {
		t.Errorf("the text is %q, %v", text, err)
	}
}

// TestMailFails: no error shows the mail, its recipient or the server's reply, and the password is sent only to a
// server that has authenticated itself.
func TestMailFails(t *testing.T) {
	t.Parallel()
	const recipient = "tom.secret@example.org"
	for name, c := range map[string]struct {
		overTLS, startTLS bool
		url, to, refuse   string
		strange           bool // the certificate is not known
		auths             int
		says              string
	}{
		"no STARTTLS":           {url: "smtp://" + mailUser + mailHost, says: "STARTTLS"},
		"strange certificate":   {startTLS: true, strange: true, url: "smtp://" + mailUser + mailHost, says: "certificate"},
		"strange certificate 2": {overTLS: true, strange: true, url: "smtps://" + mailUser + mailHost, says: "certificate"},
		"wrong name":            {startTLS: true, url: "smtp://" + mailUser + "other.test", says: "certificate"},
		"wrong password":        {startTLS: true, url: "smtp://im%20ctl:secret@" + mailHost, auths: 1, says: "535"},
		"no such recipient":     {startTLS: true, url: "smtp://" + mailHost, refuse: "we have no " + recipient, says: "550 5.1.1"},
		"two recipients":        {startTLS: true, url: "smtp://" + mailHost, to: recipient + ", b@example.org", says: "recipient"},
		"no recipient":          {startTLS: true, url: "smtp://" + mailHost, to: "secret", says: "recipient"},
		"a header":              {startTLS: true, url: "smtp://" + mailHost, to: recipient + "\r\nBcc: b@example.org", says: "recipient"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startMail(t, c.overTLS, c.startTLS)
			server.refuse = c.refuse
			mailer := server.mailer(t, c.url)
			if c.strange {
				mailer.roots = x509.NewCertPool()
			}
			if c.to == "" {
				c.to = recipient
			}
			err := mailer.Send(t.Context(), c.to, "subject secret", "text secret")
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "rd/+") {
				t.Errorf("got %v", err)
			}
			if len(server.auths) != c.auths || len(server.mails) != 0 {
				t.Errorf("%d logins, %d mails", len(server.auths), len(server.mails))
			}
		})
	}
}

// TestMailGivesUp: Send returns when its context ends, even if the server does not answer.
func TestMailGivesUp(t *testing.T) {
	t.Parallel()
	server := startMail(t, false, false)
	server.silent = make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := server.mailer(t, "smtp://HOST").Send(ctx, "tom@example.org", "s", "t")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > mailStep/2 {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	close(server.silent)
	gone := startMail(t, false, false)
	mailer := gone.mailer(t, "smtp://HOST")
	mailer.dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := mailer.Send(ctx, "tom@example.org", "s", "t"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who is not there: %v", err)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]Mailer{
		"smtp://mail.example.org":               {host: "mail.example.org", port: 587},
		"smtp://mail.example.org:25/":           {host: "mail.example.org", port: 25},
		"smtps://u%40x:p%3A%2F@[2001:db8::1]":   {host: "2001:db8::1", port: 465, tls: true, user: "u@x", password: "p:/"},
		"smtp://localhost:1025":                 {host: "localhost", port: 1025, plain: true},
		"smtp://[::1]":                          {host: "::1", port: 587, plain: true},
		"smtps://127.0.0.1:465":                 {host: "127.0.0.1", port: 465, tls: true},
		"smtp://[::ffff:127.0.0.2]:2525":        {host: "::ffff:127.0.0.2", port: 2525, plain: true},
		"smtp://localhost.example.org:1":        {host: "localhost.example.org", port: 1},
		"SMTP://user:password@Mail.Example.Org": {host: "Mail.Example.Org", port: 587, user: "user", password: "password"},
	} {
		m, err := New(url, "imctl@example.org")
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if m.host != want.host || m.port != want.port || m.tls != want.tls || m.plain != want.plain || m.user != want.user || m.password != want.password {
			t.Errorf("%s: %+v", url, *m)
		}
	}
	for _, url := range []string{
		"", "mail.example.org", "mail.example.org:25", "http://mail.example.org", "mailto:secret@example.org", "smtp://", "smtp://:25",
		"smtp://user:secret@", "smtp://secret@mail.example.org", "smtp://:secret@mail.example.org", "smtp://mail.example.org:0",
		"smtp://mail.example.org:65536", "smtp://mail.example.org/secret", "smtp://mail.example.org?secret=1", "smtp://mail.example.org#secret",
		"smtp://user:se%zzcret@mail.example.org", "smtp://user:secret@mail.example.org:x",
	} {
		if m, err := New(url, "imctl@example.org"); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %+v, %v", url, m, err)
		}
	}
	if _, err := New("smtp://mail.example.org", "nobody"); err == nil {
		t.Error("a sender that is no address")
	}
}
