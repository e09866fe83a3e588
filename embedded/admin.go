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

// AdminContext is the local administrator's way in, kept in the data directory
// as admin.json. The file is a NATS context, so the nats tool reads it as well
// (https://github.com/nats-io/jsm.go, package natscontext).
type AdminContext struct {
	Description string `json:"description"`
	URL         string `json:"url"` // Empty when the server has no door for clients.
	User        string `json:"user"`
	Password    string `json:"password"`
}

// ReadContext reads the administrator's context from a data directory without
// locking it, for commands that talk to the server which runs there. The URL is
// the one of the last start. It is fs.ErrNotExist where no server has run yet.
func ReadContext(dir string) (AdminContext, error) {
	path := filepath.Join(dir, adminFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return AdminContext{}, fmt.Errorf("administrator's context: %w", err)
	}
	var c AdminContext
	if err := json.Unmarshal(b, &c); err != nil {
		// The parser's own words may quote the file, and the file holds a password.
		return AdminContext{}, fmt.Errorf("administrator's context %s is damaged; remove it and a new one is made at the next start", path)
	}
	if c.User == "" || c.Password == "" {
		return AdminContext{}, fmt.Errorf("administrator's context %s names no user or no password; remove it and a new one is made at the next start", path)
	}
	return c, nil
}

// loadAdmin returns the administrator's credentials, new ones at the first start.
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

// saveAdmin writes the context with the address of this start.
func saveAdmin(d *Dir, c AdminContext) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("administrator's context: %w", err)
	}
	return d.writeFile(adminFile, append(b, '\n'))
}

// newSecret returns 128 random bits in hex digits.
func newSecret() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
