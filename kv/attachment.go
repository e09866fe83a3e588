package kv

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"time"
)

// Role says what an attachment may do.
type Role string

// The roles of attachments.
const (
	RoleConsumer  Role = "consumer"  // only reads a part of the log
	RoleReader    Role = "reader"    // only reads users, friendships and presence
	RoleService   Role = "service"   // is one user of the system, and reads what a reader may
	RoleModerator Role = "moderator" // only answers hooks
	RoleAuth      Role = "auth"      // only answers questions about logins
	RoleGateway   Role = "gateway"   // speaks for users of its own
	RoleBridge    Role = "bridge"    // everything that a bridge needs, without administration
	RoleAdmin     Role = "admin"     // everything
)

// Roles are all roles, from the least to the most trusted.
var Roles = []Role{RoleConsumer, RoleReader, RoleService, RoleModerator, RoleAuth, RoleGateway, RoleBridge, RoleAdmin}

// RoleNames returns the names of Roles.
func RoleNames() []string {
	names := make([]string, len(Roles))
	for i, r := range Roles {
		names[i] = string(r)
	}
	return names
}

// HasConsumer reports whether attachments with the role have a durable consumer on the event log.
func (r Role) HasConsumer() bool { return r == RoleConsumer || r == RoleReader }

// Reads reports whether attachments with the role have the calls that read users, friendships and presence.
func (r Role) Reads() bool { return r == RoleReader || r == RoleService }

// IsTrusted reports whether NATS clients with the role could give themselves each permission: they write all records.
func (r Role) IsTrusted() bool { return r == RoleBridge || r == RoleAdmin }

// Attachment is a program that may log in to NATS with a secret of its own.
type Attachment struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Filter  string    `json:"filter,omitempty"` // of a consumer: selects a part of the log, without the prefix
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen,omitzero"` // when its program was last there, as far as a node has noted; of a consumer

	Detached Detachment `json:"detached,omitzero"` // of a consumer: the last loss of its consumer
	// Filters are those of a consumer that has more than one. Filter is the first of them.
	Filters []string `json:"filters,omitempty"`

	User      string `json:"user,omitempty"`      // of a service: the id of its user
	Befriends bool   `json:"befriends,omitempty"` // of a service: it may befriend users by itself
	// Accounts are those that a gateway may register: a beginning and a star, such as "matrix_*".
	Accounts string `json:"accounts,omitempty"`
	// MaxUsers is how many users a gateway may have; 0: as many as the server's limit.
	MaxUsers int `json:"max_users,omitempty"`
}

// AllFilters returns the filters of a consumer.
func (a Attachment) AllFilters() []string {
	if len(a.Filters) > 0 {
		return a.Filters
	}
	return []string{a.Filter}
}

// WithFilters returns the attachment with these filters.
func (a Attachment) WithFilters(filters []string) Attachment {
	a.Filter, a.Filters = "", nil
	if len(filters) > 0 {
		a.Filter = filters[0]
	}
	if len(filters) > 1 {
		a.Filters = filters
	}
	return a
}

// attachmentRecord is an attachment as it is stored. The secret is random, so that it cannot be guessed and a fast
// hash is enough.
type attachmentRecord struct {
	Attachment
	absence
	SecretHash string `json:"secret_hash"` // SHA-256 in hex; "" if the secret is revoked
	Confirmed  bool   `json:"confirmed"`   // false: the attachment is pending and has no effect

	Session string `json:"session,omitempty"` // of a gateway: the node of the session that was opened last
}

var attachmentName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// validAttachmentName reports whether an attachment may have that name. It becomes a part of subjects.
func validAttachmentName(name string) bool { return attachmentName.MatchString(name) }

// Attachments stores the attachments, in the bucket of users.
type Attachments struct {
	b *bucket
}

func attachmentKey(name string) string { return "attach." + name }

// newSecret returns a secret of 256 random bits and its hash.
func newSecret() (secret, hash string) {
	secret = NewID() + NewID()
	return secret, hashSecret(secret)
}

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Add stores an attachment, and returns it with its secret, which is not stored. Add sets Created. A gateway that could
// register the same account as another one is invalid.
//
// Errors: ErrAttachmentExists, ErrAttachmentInvalid, ErrConflict.
func (a *Attachments) Add(ctx context.Context, at Attachment) (Attachment, string, error) {
	return a.add(ctx, at, true)
}

// Prepare is Add for an attachment that needs more than a record. The attachment is pending until Confirm: its secret
// is refused, and List leaves it out.
//
// Errors: ErrAttachmentExists, ErrAttachmentInvalid, ErrConflict.
func (a *Attachments) Prepare(ctx context.Context, at Attachment) (Attachment, string, error) {
	return a.add(ctx, at, false)
}

func (a *Attachments) add(ctx context.Context, at Attachment, confirmed bool) (Attachment, string, error) {
	if !validAttachmentName(at.Name) {
		return Attachment{}, "", fmt.Errorf("kv: add an attachment: %w: use a name of 1 to 64 letters, digits, - and _", ErrAttachmentInvalid)
	}
	at.Created = now()
	secret, hash := newSecret()
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		e, err := a.b.get(ctx, attachmentKey(at.Name), true)
		switch {
		case errors.Is(err, errKeyNotFound):
		case err != nil:
			return err
		case !e.deleted:
			return ErrAttachmentExists
		}
		var more []write
		if at.Role == RoleGateway {
			w, err := a.claimAccounts(ctx, at)
			if err != nil {
				return err
			}
			more = append(more, w)
		}
		return a.write(ctx, attachmentRecord{Attachment: at, SecretHash: hash, Confirmed: confirmed}, e.revision, more...)
	})
	if err != nil {
		return Attachment{}, "", fmt.Errorf("kv: add an attachment: %w", err)
	}
	return at, secret, nil
}

// Confirm makes a pending attachment of Prepare active. Errors: ErrAttachmentNotFound, ErrConflict.
func (a *Attachments) Confirm(ctx context.Context, name string) error {
	_, err := a.change(ctx, name, func(r *attachmentRecord) error { r.Confirmed = true; return nil })
	if err != nil {
		return fmt.Errorf("kv: confirm an attachment: %w", err)
	}
	return nil
}

// Get returns the attachment with this name. Errors: ErrAttachmentNotFound, for a pending one too.
func (a *Attachments) Get(ctx context.Context, name string) (Attachment, error) {
	r, _, err := a.read(ctx, name)
	if err == nil && !r.Confirmed {
		err = ErrAttachmentNotFound
	}
	if err != nil {
		return Attachment{}, fmt.Errorf("kv: get an attachment: %w", err)
	}
	return r.Attachment, nil
}

// Active reports whether an attachment exists, is not pending, and is not being removed.
//
// Errors: only those of NATS and ctx.
func (a *Attachments) Active(ctx context.Context, name string) (bool, error) {
	r, _, err := a.read(ctx, name)
	if errors.Is(err, ErrAttachmentNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("kv: read an attachment: %w", err)
	}
	return r.Confirmed && r.SecretHash != "", nil
}

// List returns all attachments except pending ones, sorted by name.
//
// Errors: only those of NATS and ctx.
func (a *Attachments) List(ctx context.Context) ([]Attachment, error) {
	return a.list(ctx, func(r attachmentRecord) bool { return r.Confirmed })
}

// Unfinished returns the pending attachments, and those whose secret was revoked for their removal. At a start these
// are additions and removals that were interrupted.
//
// Errors: only those of NATS and ctx.
func (a *Attachments) Unfinished(ctx context.Context) ([]Attachment, error) {
	return a.list(ctx, func(r attachmentRecord) bool { return !r.Confirmed || r.SecretHash == "" })
}

func (a *Attachments) list(ctx context.Context, wanted func(attachmentRecord) bool) ([]Attachment, error) {
	var all []Attachment
	for e, err := range a.b.list(ctx, attachmentKey("*")) {
		var r attachmentRecord
		if err == nil {
			r, err = decodeAttachment(e)
		}
		if err != nil {
			return nil, fmt.Errorf("kv: list the attachments: %w", err)
		}
		if wanted(r) {
			all = append(all, r.Attachment)
		}
	}
	// An attachment that changed meanwhile occurs twice.
	slices.SortFunc(all, func(x, y Attachment) int { return cmp.Compare(x.Name, y.Name) })
	return slices.CompactFunc(all, func(x, y Attachment) bool { return x.Name == y.Name }), nil
}

// Rotate replaces the attachment's secret, and returns the attachment with the new one. Errors:
// ErrAttachmentNotFound, ErrConflict.
func (a *Attachments) Rotate(ctx context.Context, name string) (Attachment, string, error) {
	secret, hash := newSecret()
	at, err := a.setHash(ctx, name, hash)
	if err != nil {
		return Attachment{}, "", fmt.Errorf("kv: rotate an attachment's secret: %w", err)
	}
	return at, secret, nil
}

// Revoke revokes the attachment's secret, and returns the attachment. Errors: ErrAttachmentNotFound, ErrConflict.
func (a *Attachments) Revoke(ctx context.Context, name string) (Attachment, error) {
	at, err := a.setHash(ctx, name, "")
	if err != nil {
		return Attachment{}, fmt.Errorf("kv: revoke an attachment's secret: %w", err)
	}
	return at, nil
}

// Remove removes the attachment. A missing attachment is no error.
//
// Errors: ErrConflict.
func (a *Attachments) Remove(ctx context.Context, name string) error {
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		r, revision, err := a.read(ctx, name)
		if err != nil {
			return err
		}
		_, err = a.b.write(ctx, putAt(attachmentKey(r.Name), nil, revision).asMarker())
		return err
	})
	if err != nil && !errors.Is(err, ErrAttachmentNotFound) {
		return fmt.Errorf("kv: remove an attachment: %w", err)
	}
	return nil
}

// Check returns the attachment with this name and this secret. Its duration does not depend on the secret.
//
// Errors: ErrAttachmentNotFound, also for a wrong secret and a pending attachment.
func (a *Attachments) Check(ctx context.Context, name, secret string) (Attachment, error) {
	r, _, err := a.read(ctx, name)
	if err != nil {
		return Attachment{}, fmt.Errorf("kv: check an attachment: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(hashSecret(secret)), []byte(r.SecretHash)) != 1 || !r.Confirmed {
		return Attachment{}, fmt.Errorf("kv: check an attachment: %w", ErrAttachmentNotFound)
	}
	return r.Attachment, nil
}

// setHash replaces the hash of the secret; "" revokes it. Errors: ErrAttachmentNotFound, ErrConflict.
func (a *Attachments) setHash(ctx context.Context, name, hash string) (Attachment, error) {
	return a.change(ctx, name, func(r *attachmentRecord) error {
		if hash != "" && !r.Confirmed {
			return ErrAttachmentNotFound
		}
		r.SecretHash = hash
		return nil
	})
}

// change stores a record that edit has changed, and returns the attachment. It does not write an unchanged record.
//
// Errors: ErrAttachmentNotFound, ErrConflict.
func (a *Attachments) change(ctx context.Context, name string, edit func(*attachmentRecord) error) (Attachment, error) {
	var at Attachment
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		r, revision, err := a.read(ctx, name)
		if err != nil {
			return err
		}
		before := r
		if err := edit(&r); err != nil {
			return err
		}
		at = r.Attachment
		if reflect.DeepEqual(r, before) {
			return nil
		}
		return a.write(ctx, r, revision)
	})
	return at, err
}

// read returns an attachment's record and its revision from the stream's leader, since a replica that lags may still
// have a revoked secret. Errors: ErrAttachmentNotFound.
func (a *Attachments) read(ctx context.Context, name string) (attachmentRecord, uint64, error) {
	if !validAttachmentName(name) {
		return attachmentRecord{}, 0, ErrAttachmentNotFound
	}
	e, err := a.b.get(ctx, attachmentKey(name), true)
	if errors.Is(err, errKeyNotFound) || err == nil && e.deleted {
		return attachmentRecord{}, 0, ErrAttachmentNotFound
	}
	if err != nil {
		return attachmentRecord{}, 0, err
	}
	r, err := decodeAttachment(e)
	return r, e.revision, err
}

// write stores a record, and what belongs to it.
func (a *Attachments) write(ctx context.Context, r attachmentRecord, revision uint64, more ...write) error {
	_, err := a.writeRevision(ctx, r, revision, more...)
	return err
}

// writeRevision is write, and returns the revision of the written record.
func (a *Attachments) writeRevision(ctx context.Context, r attachmentRecord, revision uint64, more ...write) (uint64, error) {
	record, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("encode an attachment: %w", err)
	}
	return a.b.write(ctx, append(more, putAt(attachmentKey(r.Name), record, revision))...)
}

func decodeAttachment(e entry) (attachmentRecord, error) {
	var r attachmentRecord
	if err := json.Unmarshal(e.value, &r); err != nil {
		return attachmentRecord{}, damaged(e)
	}
	return r, nil
}
