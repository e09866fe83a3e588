package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
)

// timeout bounds each request to the directory. A login takes up to three, within auth.nats.timeout.
const timeout = time.Second

// directory is an LDAP directory.
type directory struct {
	url      string
	startTLS bool
	tls      *tls.Config

	base, filter     string
	bindDN, password string
	account, name    string // attributes
	mail, id         string

	mu     sync.Mutex // guards reader
	reader *ldap.Conn // searches; nil: not connected
}

// newDirectory reads the environment. It does not connect yet.
func newDirectory(env func(string) string) (*directory, error) {
	or := func(name, value string) string { return cmp.Or(env("LDAP_"+name), value) }
	d := &directory{url: or("URL", "ldap://127.0.0.1:389"), startTLS: env("LDAP_STARTTLS") == "1", base: env("LDAP_BASE"), filter: or("FILTER", "(uid={account})"),
		bindDN: env("LDAP_BIND_DN"), password: env("LDAP_BIND_PASSWORD"), account: or("ACCOUNT", "uid"), name: or("NAME", "cn"), mail: or("MAIL", "mail"), id: or("ID", "entryUUID")}
	u, err := url.Parse(d.url)
	if err != nil {
		return nil, fmt.Errorf("LDAP_URL: %w", err)
	}
	d.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if file := env("LDAP_CA"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("LDAP_CA: %w", err)
		}
		d.tls.RootCAs = x509.NewCertPool()
		if !d.tls.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("LDAP_CA: the file has no certificate")
		}
	}
	a, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && a.IsLoopback()
	switch {
	case d.base == "":
		return nil, errors.New("LDAP_BASE is not set")
	case strings.Count(d.filter, "{account}") == 0:
		return nil, errors.New("LDAP_FILTER has no {account}")
	case d.bindDN != "" && d.password == "":
		return nil, errors.New("LDAP_BIND_DN requires LDAP_BIND_PASSWORD")
	case u.Scheme != "ldaps" && u.Scheme != "ldap":
		return nil, errors.New("LDAP_URL must begin with ldap:// or ldaps://")
	case u.Scheme == "ldap" && !d.startTLS && !local:
		return nil, errors.New("LDAP_URL would send passwords without encryption: use ldaps://, or set LDAP_STARTTLS=1")
	}
	if _, err := ldap.CompileFilter(strings.ReplaceAll(d.filter, "{account}", "a")); err != nil {
		return nil, fmt.Errorf("LDAP_FILTER: %w", err)
	}
	return d, nil
}

// dial connects to the directory, with TLS if it is configured.
func (d *directory) dial() (*ldap.Conn, error) {
	c, err := ldap.DialURL(d.url, ldap.DialWithDialer(&net.Dialer{Timeout: timeout}), ldap.DialWithTLSConfig(d.tls))
	if err != nil {
		return nil, err
	}
	c.SetTimeout(timeout)
	if d.startTLS {
		if err := c.StartTLS(d.tls); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// login answers whether an account and a password are right.
func (d *directory) login(account, password string) (reply, error) {
	if password == "" { // a bind without a password succeeds as an anonymous one (RFC 4513, 5.1.2)
		return reply{Result: "no"}, nil
	}
	entry, err := d.find(account)
	if err != nil || entry == nil {
		return reply{Result: "unknown"}, err
	}
	// The password may be of a user that may not read the directory, so it needs a connection of its own.
	c, err := d.dial()
	if err != nil {
		return reply{}, err
	}
	defer c.Close()
	err = c.Bind(entry.DN, password)
	switch {
	case err == nil:
		return d.person(entry), nil
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultInsufficientAccessRights,
		ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultConstraintViolation, ldap.LDAPResultNoSuchObject):
		return reply{Result: "no"}, nil // also an account that the directory has locked
	}
	return reply{}, err
}

// lookup answers whether an account is known.
func (d *directory) lookup(account string) (reply, error) {
	entry, err := d.find(account)
	if err != nil || entry == nil {
		return reply{Result: "unknown"}, err
	}
	return d.person(entry), nil
}

func (d *directory) person(e *ldap.Entry) reply {
	id := string(e.GetRawAttributeValue(d.id))
	if !utf8.ValidString(id) { // objectGUID of Active Directory
		id = hex.EncodeToString([]byte(id))
	}
	return reply{Result: "yes", Account: e.GetAttributeValue(d.account), Subject: id, Name: e.GetAttributeValue(d.name), Mail: e.GetAttributeValue(d.mail)}
}

// find returns the entry of an account, nil if there is none.
func (d *directory) find(account string) (*ldap.Entry, error) {
	if account == "" {
		return nil, nil
	}
	filter := strings.ReplaceAll(d.filter, "{account}", ldap.EscapeFilter(account))
	search := ldap.NewSearchRequest(d.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, int(timeout.Seconds()+1), false, filter,
		[]string{d.account, d.name, d.mail, d.id}, nil)
	found, err := d.search(search)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) || err == nil && len(found.Entries) > 1 {
		return nil, errors.New("several entries match: make LDAP_FILTER stricter")
	}
	if err != nil {
		return nil, err
	}
	if len(found.Entries) == 0 {
		return nil, nil
	}
	return found.Entries[0], nil
}

// search asks the directory by the connection for searches. If that connection was lost, it uses a new one.
func (d *directory) search(r *ldap.SearchRequest) (*ldap.SearchResult, error) {
	c, used, err := d.searcher(nil)
	if err != nil {
		return nil, err
	}
	found, err := c.Search(r)
	if ldap.IsErrorWithCode(err, ldap.ErrorNetwork) && used {
		if c, _, err = d.searcher(c); err != nil {
			return nil, err
		}
		found, err = c.Search(r)
	}
	return found, err
}

// searcher returns the connection for searches, which it makes if there is none, or only the broken one. used: earlier
// searches used it.
func (d *directory) searcher(broken *ldap.Conn) (c *ldap.Conn, used bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reader != nil && d.reader != broken && !d.reader.IsClosing() {
		return d.reader, true, nil
	}
	if d.reader != nil {
		d.reader.Close()
		d.reader = nil
	}
	if c, err = d.dial(); err != nil {
		return nil, false, err
	}
	if d.bindDN != "" {
		if err := c.Bind(d.bindDN, d.password); err != nil {
			c.Close()
			return nil, false, fmt.Errorf("bind as LDAP_BIND_DN: %w", err)
		}
	}
	d.reader = c
	return c, false, nil
}

func (d *directory) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reader != nil {
		d.reader.Close()
	}
}
