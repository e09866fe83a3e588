package embedded

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const adminFile = "admin.json"

// AdminContext is the address and the credentials of the local administrator. The data directory has it as
// admin.json. The file is a NATS context, which the nats tool can read too (https://github.com/nats-io/jsm.go,
// package natscontext).
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
func ReadContext(dir string) (AdminContext, error) {
	path := filepath.Join(dir, adminFile)
	b, err := os.ReadFile(path)
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

// loadAdmin returns the administrator's context. The first start makes new credentials.
func loadAdmin(d *Dir) (AdminContext, error) {
	c, err := ReadContext(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return AdminContext{
			Description: "imctl: administrator of this server",
			User:        adminUser,
			Password:    newSecret(),
		}, nil
	}
	return c, err
}

// saveAdmin writes the administrator's context to the data directory.
func saveAdmin(d *Dir, c AdminContext) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("administrator's context: %w", err)
	}
	return d.writeFile(adminFile, append(b, '\n'))
}

// newSecret returns 128 random bits as hex digits.
func newSecret() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
