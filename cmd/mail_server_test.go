package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// smtpServer is an SMTP server in this process. It stores mails by recipient.
type smtpServer struct {
	url string

	mu      sync.Mutex // guards the fields below
	mails   map[string][]string
	headers []mail.Header
	refuse  string
}

// startMailServer starts an SMTP server and stops it at the end of the test.
func startMailServer(t *testing.T) *smtpServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &smtpServer{url: "smtp://" + l.Addr().String(), mails: make(map[string][]string)}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &smtpSession{server: p}, nil }))
	s.Domain, s.ErrorLog = "mail.test", log.New(t.Output(), "smtp: ", 0)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		// Sessions write to the log of the test, so they have to end before it.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err := s.Shutdown(ctx)
		_ = l.Close() // Shutdown does not close l if it runs before Serve
		if err := errors.Join(err, <-done); err != nil {
			t.Errorf("SMTP server: %v", err)
		}
	})
	return p
}

// configure sets p as the mail server of an imctl server.
func (p *smtpServer) configure(c *Config) { c.Mail.SMTP, c.Mail.From = p.url, "imctl@example.org" }

func (p *smtpServer) count(to string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mails[to])
}

// total returns the number of mails.
func (p *smtpServer) total() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.mails {
		n += len(l)
	}
	return n
}

// waitForMail waits for the n-th mail to a recipient, and returns its text.
func (p *smtpServer) waitForMail(t testing.TB, to string, n int) string {
	t.Helper()
	eventually(t, "a mail to "+to, func() bool { return p.count(to) >= n })
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mails[to][n-1]
}

// wantNoHeader checks that no header of a mail has the text.
func (p *smtpServer) wantNoHeader(t testing.TB, text string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.headers {
		if all := fmt.Sprint(h); strings.Contains(all, text) {
			t.Errorf("%q is in the header %s", text, all)
		}
	}
}

// smtpSession is one session of a client.
type smtpSession struct {
	server *smtpServer
	to     string
}

func (c *smtpSession) Reset()        { c.to = "" }
func (c *smtpSession) Logout() error { return nil }

func (c *smtpSession) Mail(string, *smtp.MailOptions) error { return nil }

func (c *smtpSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.server.refuse != "" {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: c.server.refuse + " " + to}
	}
	c.to = to
	return nil
}

func (c *smtpSession) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		return err
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.mails[c.to] = append(c.server.mails[c.to], string(text))
	c.server.headers = append(c.server.headers, m.Header)
	return nil
}
