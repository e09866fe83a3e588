package embedded

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

const (
	adminFile  = "admin.json"
	systemFile = "system.json"
)

// AdminContext is the address and the credentials of the local administrator. The data directory has it as admin.json,
// and as system.json for the system account, which monitors NATS and removes nodes. A file is a NATS context, which the
// nats tool can read too (https://github.com/nats-io/jsm.go, package natscontext).
type AdminContext struct {
	Description string `json:"description"`
	URL         string `json:"url"` // "" if the server does not listen
	User        string `json:"user"`
	Password    string `json:"password"`
	CA          string `json:"ca,omitempty"` // file with the certificate to verify; "" without TLS
}

// ReadContext reads the administrator's context from a data directory without locking it, for commands that connect
// to the server that runs there. The URL is that of the last start. The error is fs.ErrNotExist if no server has run
// there.
func ReadContext(dir string) (AdminContext, error) { return readContext(filepath.Join(dir, adminFile)) }

// ReadSystemContext is ReadContext for the system account.
func ReadSystemContext(dir string) (AdminContext, error) {
	return readContext(filepath.Join(dir, systemFile))
}

func readContext(path string) (AdminContext, error) {
	b, err := readRegular(path)
	if err != nil {
		return AdminContext{}, fmt.Errorf("administrator's context: %w", err)
	}
	var c AdminContext
	if err := json.Unmarshal(b, &c); err != nil {
		// The parser's error may quote the file, which has a password.
		return AdminContext{}, fmt.Errorf("administrator's context %s is damaged; remove it, and the next start makes a new one", path)
	}
	if c.User == "" || c.Password == "" {
		return AdminContext{}, fmt.Errorf("administrator's context %s has no user or no password; remove it, and the next start makes a new one", path)
	}
	return c, nil
}

// loadContexts returns the contexts of the administrator and of the system account. The first start makes new
// credentials.
func loadContexts(d *Dir) (admin, system AdminContext, err error) {
	if admin, err = ReadContext(d.path); errors.Is(err, fs.ErrNotExist) {
		admin = AdminContext{Description: "imctl: administrator of this server", User: adminUser, Password: newSecret()}
	} else if err != nil {
		return admin, system, err
	}
	if system, err = ReadSystemContext(d.path); errors.Is(err, fs.ErrNotExist) {
		system = AdminContext{Description: "imctl: system account of this server", User: operatorUser, Password: newSecret()}
		err = nil
	}
	return admin, system, err
}

// saveContext writes a context to a file of the data directory.
func saveContext(d *Dir, name string, c AdminContext) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("administrator's context: %w", err)
	}
	return d.writeFile(name, append(b, '\n'))
}

// newSecret returns 128 random bits as hex digits.
func newSecret() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
