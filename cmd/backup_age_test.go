package cmd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agefile "filippo.io/age" // the package has a function age
	"golang.org/x/crypto/ssh"
)

// writeIn writes a file in a directory that only its owner can read.
func writeIn(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readIn(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newAgeKey writes a new secret key of age to a file, and returns its public key.
func newAgeKey(t testing.TB, dir, name string) (recipient string) {
	t.Helper()
	key, err := agefile.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	writeIn(t, dir, name, "# a key\n"+key.String()+"\n")
	return key.Recipient().String()
}

// newSSHKey is newAgeKey for a key of SSH.
func newSSHKey(t testing.TB, dir, name string) (recipient string) {
	t.Helper()
	public, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(secret, "")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	writeIn(t, dir, name, string(pem.EncodeToMemory(block)))
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// TestEncryptedBackup restores a backup with the secret key of each recipient, and with no other key.
func TestEncryptedBackup(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`+"\n"+`{"account":"bob"}`, "user", "import").want(t, exitDone)
	people := exportedLines(t, dir)
	own, other, stranger := newAgeKey(t, dir, "own.txt"), newSSHKey(t, dir, "ssh"), newAgeKey(t, dir, "stranger.txt")
	command(t, dir, "", "backup", "plain.tar").want(t, exitDone)
	command(t, dir, "", "backup", "all.tar.age", "--recipient", own, "--recipient", other).want(t, exitDone, "KV_im_users")
	sealed := readIn(t, dir, "all.tar.age")
	if !bytes.HasPrefix(sealed, []byte(ageIntro)) || bytes.Contains(sealed, []byte(manifestEntry)) {
		t.Error("the backup is not encrypted")
	}

	for _, identity := range []string{"own.txt", "ssh"} {
		command(t, dir, "", "restore", "--verify", "all.tar.age", "--identity", identity).want(t, exitDone, "backup    OK\n", "accounts  2\n")
		command(t, dir, string(sealed), "restore", "--verify", "-", "--identity", identity, "-o", "json").want(t, exitDone, `"accounts":2`, `"prefix":"im"`)
		command(t, dir, "", "restore", "all.tar.age", "--identity", identity, "--data", "with-"+identity).want(t, exitDone)
		wantUsers(t, exportedLines(t, dir, "--data", "with-"+identity), people)
	}
	command(t, dir, "", "restore", "all.tar.age", "--data", "new").want(t, exitUse, "--identity")
	command(t, dir, "", "restore", "--verify", "all.tar.age").want(t, exitUse, "--identity")
	command(t, dir, "", "restore", "--verify", "all.tar.age", "--identity", "stranger.txt").want(t, exitFailed, "none of the identities")
	command(t, dir, "", "restore", "--verify", "all.tar.age", "--identity", "missing.txt").want(t, exitUse, "missing.txt")
	command(t, dir, "", "restore", "--verify", "all.tar.age", "--identity", "plain.tar").want(t, exitUse, "plain.tar")
	for name, b := range map[string][]byte{"half": sealed[:len(sealed)/2], "without the last byte": sealed[:len(sealed)-1],
		"another byte": spoiled(sealed, len(sealed)/2), "another byte at the end": spoiled(sealed, len(sealed)-3), "an intro": sealed[:30]} {
		if a := command(t, dir, string(b), "restore", "--verify", "-", "--identity", "own.txt"); a.code != exitFailed || !strings.Contains(a.err, errBackup.Error()) {
			t.Errorf("%s: got %+v", name, a)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a refused restore made a data directory")
	}

	a := command(t, dir, "", "backup", "-", "--recipient", stranger).want(t, exitDone)
	command(t, dir, a.out, "restore", "-", "--identity", "stranger.txt", "--data", "piped").want(t, exitDone)
	wantUsers(t, exportedLines(t, dir, "--data", "piped"), people)
}

// TestRecipients checks which public keys are accepted, and that a secret key in their place is not repeated.
func TestRecipients(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	own := newAgeKey(t, dir, "own.txt")
	secret := strings.Fields(string(readIn(t, dir, "own.txt")))[3]
	hybrid, err := agefile.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "backup", "hybrid.age", "--recipient", hybrid.Recipient().String()).want(t, exitDone)
	writeIn(t, dir, "hybrid.txt", hybrid.String())
	command(t, dir, "", "restore", "--verify", "hybrid.age", "--identity", "hybrid.txt").want(t, exitDone)
	command(t, dir, "", "backup", "x", "--recipient", own, "--recipient", hybrid.Recipient().String()).want(t, exitUse, "post-quantum")
	for _, wrong := range []string{secret, "", "age1", own + "\n" + own, "ssh-ed25519 AAAA", "alice"} {
		a := command(t, dir, "", "backup", "x", "--recipient", wrong).want(t, exitUse, "--recipient: item 1: must be a public key")
		if strings.Contains(a.err, secret) {
			t.Error("the message has the secret key")
		}
		a = command(t, dir, "", "check", "--backup.recipients", wrong)
		if wrong != "" && a.code != exitUse || strings.Contains(a.out+a.err, secret) {
			t.Errorf("check with %q: %+v", wrong, a)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); err == nil {
		t.Error("a refused backup made a file")
	}
}

// passphrase is a terminal at which a user enters the same line again and again.
type passphrase string

func (p passphrase) Line(context.Context, string) (string, error)     { return string(p), nil }
func (p passphrase) Password(context.Context, string) (string, error) { return string(p), nil }

// TestPassphrase restores a backup that another program has encrypted with a passphrase, and one for a key that is
// encrypted with a passphrase.
func TestPassphrase(t *testing.T) {
	t.Parallel()
	dir := importDir(t)
	command(t, dir, `{"account":"alice"}`, "user", "import").want(t, exitDone)
	own := newAgeKey(t, dir, "own.txt")
	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	command(t, dir, "", "backup", "all.age", "--recipient", own).want(t, exitDone)
	seal := func(from, to string) {
		recipient, err := agefile.NewScryptRecipient("correct horse")
		if err != nil {
			t.Fatal(err)
		}
		recipient.SetWorkFactor(10)
		var sealed bytes.Buffer
		w, err := agefile.Encrypt(&sealed, recipient)
		if err == nil {
			_, err = w.Write(readIn(t, dir, from))
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		writeIn(t, dir, to, sealed.String())
	}
	seal("all.tar", "passphrase.age")
	seal("own.txt", "own.age")
	verify := func(terminal Terminal, args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := Run(t.Context(), &Env{Out: &out, Err: &errs, Dir: dir, Terminal: terminal}, append([]string{"restore", "--verify"}, args...))
		return code, out.String() + errs.String()
	}
	for _, args := range [][]string{{"passphrase.age"}, {"all.age", "--identity", "own.age"}} {
		if code, text := verify(passphrase("correct horse"), args...); code != exitDone || !strings.Contains(text, "OK") {
			t.Errorf("%v: exit code %d: %s", args, code, text)
		}
		if code, text := verify(passphrase("wrong"), args...); code == exitDone || strings.Contains(text, "wrong\n") {
			t.Errorf("%v with a wrong passphrase: exit code %d: %s", args, code, text)
		}
		if code, text := verify(nil, args...); code != exitUse {
			t.Errorf("%v without a terminal: exit code %d: %s", args, code, text)
		}
	}
}
