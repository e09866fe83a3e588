package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	agefile "filippo.io/age" // the package has a function age
	"filippo.io/age/agessh"
)

// An encrypted backup is a backup in the format of age (https://age-encryption.org/v1).
const ageIntro = "age-encryption.org/"

// maxIdentityFile limits the size of a file with identities, in bytes.
const maxIdentityFile = 64 << 10

var errRecipient = errors.New("must be a public key of age or SSH, such as age1…, age1pq1… or ssh-ed25519 …")

// parseRecipient parses a public key. Its error does not repeat the text, which may be a secret key by mistake.
func parseRecipient(s string) (agefile.Recipient, error) {
	if strings.HasPrefix(s, "ssh-") {
		if r, err := agessh.ParseRecipient(s); err == nil {
			return r, nil
		}
		return nil, errRecipient
	}
	if strings.ContainsAny(s, "\r\n") {
		return nil, errRecipient
	}
	all, err := agefile.ParseRecipients(strings.NewReader(s))
	if err != nil || len(all) != 1 {
		return nil, errRecipient
	}
	return all[0], nil
}

// parseRecipients parses public keys that can decrypt one file together: age does not mix post-quantum keys with others.
func parseRecipients(list []string) ([]agefile.Recipient, error) {
	all := make([]agefile.Recipient, len(list))
	for i, s := range list {
		var err error
		if all[i], err = parseRecipient(s); err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	if len(all) > 0 {
		if _, err := agefile.Encrypt(io.Discard, all...); err != nil {
			return nil, errors.New("post-quantum keys (age1pq1…) cannot be combined with other keys")
		}
	}
	return all, nil
}

// recipients checks the setting.
func recipients(list []string) error {
	_, err := parseRecipients(list)
	return err
}

// temporaryKey returns a key pair that can be combined with the recipients. The process decrypts with it what it has
// encrypted, to verify a backup, and then forgets it.
func temporaryKey(with []agefile.Recipient) (agefile.Recipient, agefile.Identity, error) {
	if _, ok := with[0].(*agefile.HybridRecipient); ok {
		key, err := agefile.GenerateHybridIdentity()
		if err != nil {
			return nil, nil, err
		}
		return key.Recipient(), key, nil
	}
	key, err := agefile.GenerateX25519Identity()
	if err != nil {
		return nil, nil, err
	}
	return key.Recipient(), key, nil
}

// sealWriter encrypts to the recipients what is written to it. Without recipients it writes to w as it is. Close writes
// the end, and does not close w.
func sealWriter(w io.Writer, to []agefile.Recipient) (io.WriteCloser, error) {
	if len(to) == 0 {
		return plainWriter{w}, nil
	}
	return agefile.Encrypt(w, to...)
}

type plainWriter struct{ io.Writer }

func (plainWriter) Close() error { return nil }

// isSealed reports whether a backup is encrypted. It reads the beginning, and leaves the offset there.
func isSealed(r io.Reader) (bool, error) {
	intro := make([]byte, len(ageIntro))
	n, err := io.ReadFull(r, intro)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, err
	}
	return string(intro[:n]) == ageIntro, nil
}

// sealedBackup decrypts a backup while it is read, so that the plain text is on no disk.
type sealedBackup struct {
	backupSource
	identities []agefile.Identity
	plain      io.Reader // nil before the first Seek
}

// Seek begins to decrypt again. It knows no other offset than the start.
func (s *sealedBackup) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	if _, err := s.backupSource.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	var err error
	s.plain, err = agefile.Decrypt(bufio.NewReaderSize(s.backupSource, 64<<10), s.identities...)
	var none *agefile.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return 0, errors.New("none of the identities can decrypt it")
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errBackup, err)
	}
	return 0, nil
}

func (s *sealedBackup) Read(p []byte) (int, error) { return s.plain.Read(p) }

// unseal returns a backup that is decrypted with the identities in a file, "" for none, if it is encrypted. It asks for
// the passphrase of a backup that was encrypted with one.
func unseal(ctx context.Context, env *Env, name string, file backupSource, identityFile string) (backupSource, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	sealed, err := isSealed(file)
	if err != nil || !sealed {
		return file, err
	}
	if identityFile != "" {
		identities, err := readIdentities(ctx, env, identityFile)
		if err != nil {
			return nil, err
		}
		return &sealedBackup{backupSource: file, identities: identities}, nil
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	header, err := agefile.ExtractHeader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, errBackup, err)
	}
	if !bytes.Contains(header, []byte("\n-> scrypt ")) || env.Terminal == nil {
		return nil, usageErrorf("%s is encrypted: name the file of a secret key with --identity", name)
	}
	identity, err := askIdentity(ctx, env, name)
	if err != nil {
		return nil, err
	}
	return &sealedBackup{backupSource: file, identities: []agefile.Identity{identity}}, nil
}

// askIdentity asks for the passphrase of a file.
func askIdentity(ctx context.Context, env *Env, name string) (agefile.Identity, error) {
	passphrase, err := env.Terminal.Password(ctx, "Passphrase of "+name+": ")
	if err != nil {
		return nil, err
	}
	identity, err := agefile.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, usageErrorf("passphrase of %s: %w", name, err)
	}
	return identity, nil
}

// readIdentities reads a file with secret keys of age, or with one of SSH. If the file is encrypted with a passphrase,
// readIdentities asks for it. No error has a part of the file.
func readIdentities(ctx context.Context, env *Env, name string) ([]agefile.Identity, error) {
	text, err := readLimited(env.path(name), maxIdentityFile)
	if err != nil {
		return nil, usageErrorf("--identity: %s: %w", name, withoutPath(err))
	}
	if bytes.HasPrefix(text, []byte(ageIntro)) {
		if env.Terminal == nil {
			return nil, usageErrorf("--identity: %s is encrypted with a passphrase, and standard input is not a terminal", name)
		}
		identity, err := askIdentity(ctx, env, name)
		if err != nil {
			return nil, err
		}
		plain, err := agefile.Decrypt(bytes.NewReader(text), identity)
		if err == nil {
			text, err = io.ReadAll(io.LimitReader(plain, maxIdentityFile))
		}
		if err != nil {
			return nil, usageErrorf("--identity: %s: wrong passphrase, or damaged", name)
		}
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN")) {
		identity, err := agessh.ParseIdentity(text)
		if err != nil {
			return nil, usageErrorf("--identity: %s is not an RSA or Ed25519 key of SSH without a passphrase", name)
		}
		return []agefile.Identity{identity}, nil
	}
	identities, err := agefile.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, usageErrorf("--identity: %s has no secret key of age: make one with age-keygen", name)
	}
	return identities, nil
}

// openSealed opens a file that this process has encrypted, or not, with an identity for it.
func openSealed(path string, identity agefile.Identity) (backupSource, error) {
	f, err := os.Open(path)
	if err != nil || identity == nil {
		return f, err
	}
	return &sealedBackup{backupSource: f, identities: []agefile.Identity{identity}}, nil
}
