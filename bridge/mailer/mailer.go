// Package mailer sends mail over SMTP, and mails codes for forgotten passwords and addresses, and notes of changes.
package mailer

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/netip"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// mailStep bounds each step of the mail server.
const mailStep = 15 * time.Second

// Mailer sends mail over SMTP.
type Mailer struct {
	host     string
	port     int
	tls      bool // from the first byte
	plain    bool // without STARTTLS
	user     string
	password string
	from     string
	roots    *x509.CertPool // nil: the system's
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
}

// New returns a mailer for an SMTP server: smtp://user:password@host:587 with STARTTLS, or
// smtps://user:password@host:465 with TLS from the first byte. Port, user and password are optional. With smtp:// a
// server on this machine is used without TLS: it seldom has a certificate for that name, and nothing leaves the
// machine. Errors do not show the URL.
func New(rawURL, from string) (*Mailer, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("not an SMTP URL")
	}
	m := &Mailer{host: u.Hostname(), from: from, dial: new(net.Dialer).DialContext}
	switch u.Scheme {
	case "smtp":
		m.port, m.plain = 587, isLoopback(m.host)
	case "smtps":
		m.port, m.tls = 465, true
	default:
		return nil, errors.New("not an SMTP URL")
	}
	if port := u.Port(); port != "" {
		if m.port, err = strconv.Atoi(port); err != nil || m.port < 1 || m.port > 65535 {
			return nil, errors.New("invalid port of the SMTP server")
		}
	}
	if u.User != nil {
		m.user = u.User.Username()
		m.password, _ = u.User.Password()
		if m.user == "" || m.password == "" {
			return nil, errors.New("the SMTP server needs both user and password, or neither")
		}
	}
	if err := mail.NewMsg().From(from); err != nil {
		return nil, errors.New("the sender is not a mail address")
	}
	return m, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// Send sends a plain text to one address. Of an address such as "Tom <tom@example.org>" it does not use the name, which
// is text that a user wrote. It stops when ctx ends. Errors show neither the address nor the text, nor the
// server's reply, which may repeat them.
func (m *Mailer) Send(ctx context.Context, to, subject, text string) error {
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := msg.From(m.from); err != nil {
		return errors.New("mail: the sender is not a mail address")
	}
	address, err := netmail.ParseAddress(to)
	if err != nil || msg.To(address.Address) != nil {
		return errors.New("mail: the recipient is not a mail address")
	}
	msg.Subject(subject)
	msg.SetDate()
	msg.SetMessageID()
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // no out-of-office replies
	msg.SetBodyString(mail.TypeTextPlain, text)
	client, err := mail.NewClient(m.host, m.options(ctx)...)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return fmt.Errorf("mail: %w", discreet(cmp.Or(ctx.Err(), err)))
	}
	// The mail is sent or has failed by then: an error of QUIT does not matter.
	defer func() { _ = client.CloseWithSMTPClient(conn) }()
	if err := client.SendWithSMTPClient(conn, msg); err != nil {
		return fmt.Errorf("mail: %w", discreet(cmp.Or(ctx.Err(), err)))
	}
	return nil
}

func (m *Mailer) options(ctx context.Context) []mail.Option {
	config := &tls.Config{ServerName: m.host, RootCAs: m.roots, MinVersion: tls.VersionTLS12}
	options := []mail.Option{mail.WithPort(m.port), mail.WithTimeout(mailStep), mail.WithTLSConfig(config),
		mail.WithDialContextFunc(m.connect(ctx, config))}
	auth := []mail.SMTPAuthType{mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthCramMD5}
	switch {
	case m.tls:
		options = append(options, mail.WithSSL())
	case m.plain:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
		auth = []mail.SMTPAuthType{mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthPlainNoEnc, mail.SMTPAuthLoginNoEnc, mail.SMTPAuthCramMD5}
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if m.user != "" {
		options = append(options, mail.WithUsername(m.user), mail.WithPassword(m.password), mail.WithOpportunisticSMTPAuth(auth...))
	}
	return options
}

// connect dials, and closes the connection when whole ends: the context that the library passes ends with the dialing.
func (m *Mailer) connect(whole context.Context, config *tls.Config) mail.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := m.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(whole, func() { conn.Close() })
		if !m.tls {
			return conn, nil
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secure, nil
	}
}

// discreet reduces an error to what an administrator needs, without the server's reply.
func discreet(err error) error {
	var send *mail.SendError
	var reply *textproto.Error
	switch {
	case errors.As(err, &send):
		return fmt.Errorf("%s: status %d %s", send.Reason, send.ErrorCode(), send.EnhancedStatusCode())
	case errors.As(err, &reply):
		return fmt.Errorf("the server refuses the connection or the user: status %d", reply.Code)
	}
	return err // from before the server knew the mail
}
