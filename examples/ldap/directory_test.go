package main

import (
	"maps"
	"strings"
	"testing"
)

// environment returns the environment for a slapd.
func (s *slapd) environment(change map[string]string) func(string) string {
	all := map[string]string{"LDAP_URL": "ldap://" + s.address, "LDAP_BASE": "ou=people,dc=example,dc=org", "LDAP_BIND_DN": "cn=imctl,dc=example,dc=org", "LDAP_BIND_PASSWORD": "reader"}
	maps.Copy(all, change)
	return func(name string) string { return all[name] }
}

func (s *slapd) directory(change map[string]string) *directory {
	s.t.Helper()
	d, err := newDirectory(s.environment(change))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(d.close)
	return d
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	s := startSlapd(t)
	d := s.directory(nil)
	for _, c := range []struct{ account, password, want string }{
		{"alice", "correct horse", "yes"},
		{"ALICE", "correct horse", "yes"},
		{"alice", "wrong", "no"},
		{"alice", "", "no"}, // a bind without a password would succeed
		{"alice", "\x00", "no"},
		{"b*b", "battery", "yes"},
		{"*", "correct horse", "unknown"},
		{"a*", "correct horse", "unknown"},
		{"alice)(uid=*", "correct horse", "unknown"},
		{"alice\x00", "correct horse", "unknown"},
		{"nobody", "x", "unknown"},
		{"", "x", "unknown"},
	} {
		r, err := d.login(c.account, c.password)
		if err != nil || r.Result != c.want {
			t.Errorf("%q with %q: %q, %v, want %q", c.account, c.password, r.Result, err, c.want)
		}
		if r.Result != "yes" && r != (reply{Result: r.Result}) {
			t.Errorf("%q with %q: the answer %+v tells more", c.account, c.password, r)
		}
	}
	r, err := d.lookup("Alice")
	if err != nil || r.Account != "alice" || r.Name != "Alice Example" || r.Mail != "alice@example.org" || len(r.Subject) != 36 {
		t.Errorf("lookup: %+v, %v", r, err)
	}
	if r, err := d.lookup("nobody"); err != nil || r.Result != "unknown" {
		t.Errorf("lookup of nobody: %+v, %v", r, err)
	}
	if r, err := d.login("twice", "x"); err == nil || !strings.Contains(err.Error(), "LDAP_FILTER") {
		t.Errorf("two entries: %+v, %v", r, err)
	}

	// The directory restarts: the connection for searches is a new one.
	s.stop()
	if r, err := d.login("alice", "correct horse"); err == nil {
		t.Errorf("without a directory: %+v", r)
	}
	s.start()
	if r, err := d.login("alice", "correct horse"); err != nil || r.Result != "yes" {
		t.Errorf("after a restart: %+v, %v", r, err)
	}
	d.mu.Lock()
	before := d.reader
	d.mu.Unlock()
	s.stop()
	s.start()
	if r, err := d.lookup("alice"); err != nil || r.Result != "yes" {
		t.Errorf("after another restart: %+v, %v", r, err)
	}
	if d.reader == before {
		t.Error("the lost connection is used")
	}

	// TLS, verified.
	if r, err := s.directory(map[string]string{"LDAP_STARTTLS": "1", "LDAP_CA": s.ca}).login("alice", "correct horse"); err != nil || r.Result != "yes" {
		t.Errorf("by StartTLS: %+v, %v", r, err)
	}
	if r, err := s.directory(map[string]string{"LDAP_STARTTLS": "1"}).login("alice", "correct horse"); err == nil {
		t.Errorf("by StartTLS with an unknown certificate: %+v", r)
	}
	if r, err := s.directory(map[string]string{"LDAP_BIND_PASSWORD": "wrong"}).login("alice", "correct horse"); err == nil {
		t.Errorf("with a wrong LDAP_BIND_PASSWORD: %+v", r)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change map[string]string
		want   string
	}{
		{map[string]string{"LDAP_BASE": ""}, "LDAP_BASE"},
		{map[string]string{"LDAP_FILTER": "(uid=*)"}, "{account}"},
		{map[string]string{"LDAP_FILTER": "uid={account})"}, "LDAP_FILTER"},
		{map[string]string{"LDAP_URL": "ldap://ldap.example.org"}, "encryption"},
		{map[string]string{"LDAP_URL": "http://127.0.0.1"}, "LDAP_URL"},
		{map[string]string{"LDAP_BIND_PASSWORD": ""}, "LDAP_BIND_PASSWORD"},
		{map[string]string{"LDAP_CA": "/missing"}, "LDAP_CA"},
		{map[string]string{"LDAP_URL": "ldap://ldap.example.org", "LDAP_STARTTLS": "1"}, ""},
		{map[string]string{"LDAP_URL": "ldaps://ldap.example.org"}, ""},
	} {
		_, err := newDirectory((&slapd{t: t, address: "127.0.0.1:389"}).environment(c.change))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.change, err, c.want)
		}
	}
}
