package cmd

import (
	"errors"
	"io"
	"log"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// smtpServer is an SMTP server in this process. It keeps what it is given by recipient.
type smtpServer struct {
	url string

	mu     sync.Mutex // guards what follows
	mails  map[string][]string
	refuse string
}

// startMailServer serves until the test ends.
func startMailServer(t *testing.T) *smtpServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &smtpServer{url: "smtp://" + l.Addr().String(), mails: make(map[string][]string)}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &counter{mailServer: p}, nil }))
	s.Domain, s.ErrorLog = "mail.test", log.New(t.Output(), "smtp: ", 0)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		err := s.Close()
		_ = l.Close() // Close does so itself, unless it comes before Serve
		if err := errors.Join(err, <-done); err != nil {
			t.Errorf("SMTP server: %v", err)
		}
	})
	return p
}

// mails has a server send its mail there.
func (p *smtpServer) configure(c *Config) { c.Mail.SMTP, c.Mail.From = p.url, "imctl@example.org" }

func (p *smtpServer) count(to string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mails[to])
}

// all is how many mails there are.
func (p *smtpServer) all() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.mails {
		n += len(l)
	}
	return n
}

// nth waits for somebody's n-th letter.
func (p *smtpServer) nth(t testing.TB, to string, n int) string {
	t.Helper()
	eventually(t, "a letter to "+to, func() bool { return p.count(to) >= n })
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mails[to][n-1]
}

// counter is one client's session with the mailServer.
type counter struct {
	mailServer *smtpServer
	to         string
}

func (c *counter) Reset()        { c.to = "" }
func (c *counter) Logout() error { return nil }

func (c *counter) Mail(string, *smtp.MailOptions) error { return nil }

func (c *counter) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.mailServer.mu.Lock()
	defer c.mailServer.mu.Unlock()
	if c.mailServer.refuse != "" {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: c.mailServer.refuse + " " + to}
	}
	c.to = to
	return nil
}

func (c *counter) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		return err
	}
	c.mailServer.mu.Lock()
	defer c.mailServer.mu.Unlock()
	c.mailServer.mails[c.to] = append(c.mailServer.mails[c.to], string(text))
	return nil
}
