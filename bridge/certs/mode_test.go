package certs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMode(t *testing.T) {
	t.Parallel()
	cert, key := newAuthority(t).pair(t, "chat.example.org")
	certFile, keyFile := writePair(t, cert, key)
	plain := Options{}
	withFiles := Options{Cert: certFile, Key: keyFile}
	withDomains := Options{Domains: []string{"chat.example.org"}}
	withBoth := Options{Cert: certFile, Key: keyFile, Domains: []string{"chat.example.org"}}
	for _, test := range []struct {
		mode, listen string
		options      Options
		want         string
	}{
		{"auto", "127.0.0.1:8080", plain, ModeOff},
		{"", "127.0.0.1:8080", plain, ModeOff},
		{"auto", "127.9.9.9:0", plain, ModeOff},
		{"auto", "[::1]:8080", plain, ModeOff},
		{"auto", "[::ffff:127.0.0.1]:8080", plain, ModeOff},
		{"auto", "localhost:8080", plain, ModeOff},
		{"auto", "unix:/run/imctl.sock", plain, ModeOff},
		{"auto", "unix:/run/imctl.sock", withBoth, ModeOff},
		{"files", "unix:/run/imctl.sock", withBoth, ModeFiles},
		{"auto", "LocalHost.:8080", plain, ModeOff},
		{"auto", "127.0.0.1:8080", withBoth, ModeOff},

		{"auto", ":8080", plain, ModeSelfSigned},
		{"auto", "0.0.0.0:8080", plain, ModeSelfSigned},
		{"auto", "[::]:8080", plain, ModeSelfSigned},
		{"auto", "192.0.2.7:8080", plain, ModeSelfSigned},
		{"auto", "[fe80::1%eth0]:8080", plain, ModeSelfSigned},
		{"auto", "chat.example.org:443", plain, ModeSelfSigned},
		{"auto", "localhost.example.org:443", plain, ModeSelfSigned},
		{"auto", "127.0.0.1.example.org:443", plain, ModeSelfSigned},
		{"", ":443", plain, ModeSelfSigned},

		{"auto", ":443", withFiles, ModeFiles},
		{"auto", ":443", withDomains, ModeACME},
		{"auto", ":443", withBoth, ModeFiles},

		{"off", ":8080", withBoth, ModeOff},
		{"files", "127.0.0.1:8080", withBoth, ModeFiles},
		{"acme", "127.0.0.1:8080", withBoth, ModeACME},
		{"self-signed", "127.0.0.1:8080", withBoth, ModeSelfSigned},
	} {
		t.Run(test.mode+" "+test.listen, func(t *testing.T) {
			t.Parallel()
			o := test.options
			o.Mode, o.Listen, o.Dir = test.mode, test.listen, filepath.Join(t.TempDir(), "tls")
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			switch s.provider.(type) {
			case nil:
				got = ModeOff
			case *files:
				got = ModeFiles
			case *acmeCerts:
				got = ModeACME
			case *selfSigned:
				got = ModeSelfSigned
			}
			if got != test.want {
				t.Fatalf("mode %s, want %s", got, test.want)
			}
			if (s.TLSConfig() == nil) != (test.want == ModeOff) {
				t.Errorf("mode %s: TLS configuration %v", got, s.TLSConfig())
			}
			if _, err := os.Stat(o.Dir); (err == nil) != (test.want == ModeACME || test.want == ModeSelfSigned) {
				t.Errorf("mode %s: data directory: %v", got, err)
			}
		})
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Mode: ModeOff, Listen: ":8080"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	run(t, s) // the test hangs if Run does not return
}

// TestUnusedSettings checks that mode auto warns if it does not use the certificate settings.
func TestUnusedSettings(t *testing.T) {
	t.Parallel()
	book := newLogbook()
	if _, err := New(Options{Listen: "localhost:80", Domains: []string{"chat.example.org"}, Log: book.logger()}); err != nil {
		t.Fatal(err)
	}
	if book.count("not used") != 1 {
		t.Errorf("the log has no warning about unused settings: %s", book)
	}
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, []byte("no certificate"))
	domains := func(d ...string) Options { return Options{Mode: "acme", Listen: ":443", Dir: file, Domains: d} }
	acme := func(email, directory string) Options {
		return Options{Mode: "acme", Listen: ":443", Dir: file, Domains: []string{"chat.example.org"}, Email: email, Directory: directory}
	}
	for _, test := range []struct {
		name    string
		options Options
		setting string
		says    string
	}{
		{"no such mode", Options{Mode: "on", Listen: ":443"}, "tls.mode", `"on" is not auto, off, files, acme or self-signed`},
		{"mode in capitals", Options{Mode: "OFF", Listen: ":443"}, "tls.mode", "is not auto"},
		{"listen without a port", Options{Listen: "localhost"}, "listen", "host:port"},
		{"listen empty", Options{}, "listen", "host:port"},
		{"listen no name", Options{Mode: "self-signed", Listen: "a b:80", Dir: t.TempDir()}, "listen", "host name"},

		{"files without any", Options{Mode: "files", Listen: ":443"}, "tls.cert", "needs tls.cert and tls.key"},
		{"cert without key", Options{Cert: file, Listen: ":443"}, "tls.key", "required with tls.cert"},
		{"key without cert", Options{Key: file, Listen: "127.0.0.1:80"}, "tls.cert", "required with tls.key"},
		{"cert missing", Options{Cert: file + ".missing", Key: file, Listen: ":443"}, "tls.cert", file + ".missing"},
		{"cert no PEM", Options{Cert: file, Key: file, Listen: ":443"}, "tls.cert", "no PEM certificate"},

		{"no domains", domains(), "tls.domains", "at least one"},
		{"wildcard", domains("*.example.org"), "tls.domains", "wildcard"},
		{"address", domains("192.0.2.7"), "tls.domains", "is an address"},
		{"IPv6 address", domains("2001:db8::1"), "tls.domains", "is an address"},
		{"second is wrong", domains("chat.example.org", "chat"), "tls.domains", `"chat" is not a full domain`},
		{"with port", domains("chat.example.org:443"), "tls.domains", "not a domain"},
		{"URL", domains("https://chat.example.org"), "tls.domains", "not a domain"},
		{"empty", domains(""), "tls.domains", "not a full domain"},
		{"empty label", domains("chat..example.org"), "tls.domains", "not a domain"},
		{"long label", domains(strings.Repeat("a", 64) + ".example.org"), "tls.domains", "not a domain"},
		{"long", domains(strings.Repeat("abcdefg.", 40) + "org"), "tls.domains", "not a domain"},
		{"path", domains("../../etc.passwd"), "tls.domains", "not a domain"},
		{"self-signed extra", Options{Mode: "self-signed", Listen: ":443", Dir: t.TempDir(), Domains: []string{"*"}}, "tls.domains", "not a host name"},

		{"mail", acme("operator", ""), "tls.email", "not a mail address"},
		{"mail with a name", acme("Op <op@example.org>", ""), "tls.email", "not a mail address"},
		{"directory plain", acme("", "http://ca.example.org/dir"), "tls.directory", "https"},
		{"directory relative", acme("", "/dir"), "tls.directory", "https"},
		{"directory with a password", acme("", "https://me:hunter2@ca.example.org"), "tls.directory", "https"},

		{"no data, acme", Options{Mode: "acme", Listen: ":443", Domains: []string{"chat.example.org"}}, "data", "data directory"},
		{"no data, self-signed", Options{Listen: ":443"}, "data", "data directory"},
		{"data is a file, acme", domains("chat.example.org"), "data", "not a directory"},
		{"data is a file, self-signed", Options{Listen: ":443", Dir: file}, "data", "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, err := New(test.options)
			var setting *SettingError
			if !errors.As(err, &setting) || s != nil {
				t.Fatalf("got %v, %v, want a SettingError", s, err)
			}
			if setting.Setting != test.setting || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %q, want an error for %s with %q", err, test.setting, test.says)
			}
			if text := err.Error(); strings.Contains(text, "\n") || strings.Contains(text, "hunter2") {
				t.Errorf("want one line without a secret: %q", text)
			}
		})
	}
}
