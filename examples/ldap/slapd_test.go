package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const entries = `dn: dc=example,dc=org
objectClass: domain
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: cn=imctl,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: imctl
userPassword: reader

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice Example
sn: Example
mail: alice@example.org
userPassword: correct horse

dn: uid=b*b,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: b*b
cn: B (ob)
sn: B
userPassword: battery

dn: cn=first,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: twice
cn: first
sn: X

dn: cn=second,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: twice
cn: second
sn: X
`

// slapd is OpenLDAP's server with entries, on a free port.
type slapd struct {
	t       *testing.T
	conf    string
	address string
	ca      string
	cmd     *exec.Cmd
}

func startSlapd(t *testing.T) *slapd {
	t.Helper()
	program, err := exec.LookPath("slapd")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/slapd") // not in the path of users
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	s := &slapd{t: t, conf: filepath.Join(dir, "slapd.conf"), ca: filepath.Join(dir, "cert.pem")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, s.ca, filepath.Join(dir, "key.pem"))
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile DIR/slapd.pid
TLSCertificateFile DIR/cert.pem
TLSCertificateKeyFile DIR/key.pem
database mdb
suffix dc=example,dc=org
directory DIR/db
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=imctl,dc=example,dc=org" read by * none
`
	for name, text := range map[string]string{"slapd.conf": strings.ReplaceAll(conf, "DIR", dir), "entries.ldif": entries} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	add := exec.CommandContext(t.Context(), program, "-Tadd", "-f", s.conf, "-l", filepath.Join(dir, "entries.ldif"))
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v: %s", err, out)
	}
	s.cmd = exec.CommandContext(context.Background(), program, "-f", s.conf, "-h", "ldap://"+s.address, "-d", "0")
	s.start()
	t.Cleanup(s.stop)
	return s
}

// start starts the server, and waits until it accepts connections.
func (s *slapd) start() {
	s.t.Helper()
	s.cmd = exec.CommandContext(context.Background(), s.cmd.Path, s.cmd.Args[1:]...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			_ = c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatal("slapd does not listen")
}

func (s *slapd) stop() {
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()         // by a signal
}

func writeCertificate(t *testing.T, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: text}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
