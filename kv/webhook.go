package kv

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// MaxWebhooks is how many webhooks may exist. Each has consumers of its own.
const MaxWebhooks = 32

// Webhook posts events to a URL.
type Webhook struct {
	Name     string    `json:"name"`
	URL      string    `json:"url"`
	Events   []string  `json:"events"`         // names of events, such as user.created and user.*
	Payload  bool      `json:"payload"`        // events have the text of dialogues
	Rate     float64   `json:"rate,omitempty"` // requests a second at most; 0: no limit
	Parallel int       `json:"parallel"`       // requests at the same time, at most
	Created  time.Time `json:"created"`
	// Disabled tells since when and why the webhook takes no events. It is zero for an enabled webhook.
	Disabled WebhookState `json:"disabled,omitzero"`
	// Failing tells since when and why the destination takes no events. It is zero while the destination works.
	Failing WebhookState `json:"failing,omitzero"`
	// OldSecretUntil is when the secret before the current one expires, zero if there is none.
	OldSecretUntil time.Time `json:"old_secret_until,omitzero"`
}

// WebhookState is a state of a webhook with its reason.
type WebhookState struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// Enabled reports whether the webhook takes events.
func (w Webhook) Enabled() bool { return w.Disabled.Since.IsZero() }

// webhookRecord is a webhook as it is stored. Signing needs the secrets themselves, so no hash is enough: the rights of
// the data directory, and of NATS, protect them.
type webhookRecord struct {
	Webhook
	Secret    string `json:"secret"`               // whsec_…
	OldSecret string `json:"old_secret,omitempty"` // valid until OldSecretUntil
	Confirmed bool   `json:"confirmed"`            // false: the webhook is pending and has no effect
}

// Webhooks stores the webhooks, in the bucket of users.
type Webhooks struct {
	b *bucket
}

const webhookPrefix = "webhook."

func webhookKey(name string) string { return webhookPrefix + name }

// webhookSecretPrefix begins the secrets, as Standard Webhooks has it.
const webhookSecretPrefix = "whsec_"

func newWebhookSecret() string {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return webhookSecretPrefix + base64.StdEncoding.EncodeToString(key)
}

// Prepare stores a webhook that is pending until Confirm, and returns it with its secret. Prepare sets Created.
//
// Errors: ErrWebhookExists, ErrWebhookInvalid, ErrConflict, ErrReadOnly.
func (s *Webhooks) Prepare(ctx context.Context, w Webhook) (Webhook, string, error) {
	failed := func(err error) (Webhook, string, error) {
		return Webhook{}, "", fmt.Errorf("kv: add a webhook: %w", err)
	}
	if !validAttachmentName(w.Name) {
		return failed(fmt.Errorf("%w: use a name of 1 to 64 letters, digits, - and _", ErrWebhookInvalid))
	}
	all, err := s.list(ctx, func(webhookRecord) bool { return true })
	if err != nil {
		return failed(err)
	}
	if len(all) >= MaxWebhooks {
		return failed(fmt.Errorf("%w: there are %d webhooks already, which is the limit", ErrWebhookInvalid, len(all)))
	}
	w.Created, w.Disabled, w.Failing, w.OldSecretUntil = now(), WebhookState{}, WebhookState{}, time.Time{}
	secret := newWebhookSecret()
	err = compareAndSwap(ctx, func(ctx context.Context) error {
		e, err := s.b.get(ctx, webhookKey(w.Name), true)
		switch {
		case errors.Is(err, errKeyNotFound):
		case err != nil:
			return err
		case !e.deleted:
			return ErrWebhookExists
		}
		return s.write(ctx, webhookRecord{Webhook: w, Secret: secret}, e.revision)
	})
	if err != nil {
		return failed(err)
	}
	return w, secret, nil
}

// Confirm makes a pending webhook active. Errors: ErrWebhookNotFound, ErrConflict, ErrReadOnly.
func (s *Webhooks) Confirm(ctx context.Context, name string) error {
	_, err := s.change(ctx, name, func(r *webhookRecord) { r.Confirmed = true })
	return wrapped("confirm a webhook", err)
}

// Get returns the webhook with this name. Errors: ErrWebhookNotFound, for a pending one too.
func (s *Webhooks) Get(ctx context.Context, name string) (Webhook, error) {
	r, _, err := s.read(ctx, name)
	if err == nil && !r.Confirmed {
		err = ErrWebhookNotFound
	}
	if err != nil {
		return Webhook{}, fmt.Errorf("kv: get a webhook: %w", err)
	}
	return r.Webhook, nil
}

// Secrets returns the secrets with which a webhook signs now, the current one first. Errors: ErrWebhookNotFound.
func (s *Webhooks) Secrets(ctx context.Context, name string) ([]string, error) {
	r, _, err := s.read(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("kv: read the secrets of a webhook: %w", err)
	}
	secrets := []string{r.Secret}
	if r.OldSecret != "" && time.Now().Before(r.OldSecretUntil) {
		secrets = append(secrets, r.OldSecret)
	}
	return secrets, nil
}

// List returns all webhooks except pending ones, sorted by name. Errors: only those of NATS and ctx.
func (s *Webhooks) List(ctx context.Context) ([]Webhook, error) {
	return s.list(ctx, func(r webhookRecord) bool { return r.Confirmed })
}

// Pending returns the webhooks that are not confirmed. At a start these are additions and removals that were
// interrupted.
//
// Errors: only those of NATS and ctx.
func (s *Webhooks) Pending(ctx context.Context) ([]Webhook, error) {
	return s.list(ctx, func(r webhookRecord) bool { return !r.Confirmed })
}

func (s *Webhooks) list(ctx context.Context, wanted func(webhookRecord) bool) ([]Webhook, error) {
	var all []Webhook
	for e, err := range s.b.list(ctx, webhookKey("*")) {
		var r webhookRecord
		if err == nil {
			r, err = decodeWebhook(e)
		}
		if err != nil {
			return nil, fmt.Errorf("kv: list the webhooks: %w", err)
		}
		if wanted(r) {
			all = append(all, r.Webhook)
		}
	}
	// A webhook that changed meanwhile occurs twice.
	slices.SortFunc(all, func(x, y Webhook) int { return cmp.Compare(x.Name, y.Name) })
	return slices.CompactFunc(all, func(x, y Webhook) bool { return x.Name == y.Name }), nil
}

// Rotate gives a webhook a new secret, and returns it. Until a time the webhook also signs with the secret before it.
//
// Errors: ErrWebhookNotFound, ErrConflict, ErrReadOnly.
func (s *Webhooks) Rotate(ctx context.Context, name string, until time.Time) (Webhook, string, error) {
	secret := newWebhookSecret()
	w, err := s.change(ctx, name, func(r *webhookRecord) {
		r.OldSecret, r.OldSecretUntil = r.Secret, until.UTC().Truncate(time.Second)
		if !until.After(time.Now()) {
			r.OldSecret, r.OldSecretUntil = "", time.Time{}
		}
		r.Secret = secret
	})
	return w, secret, wrapped("rotate the secret of a webhook", err)
}

// Enable lets a webhook take events again. Errors: ErrWebhookNotFound, ErrConflict, ErrReadOnly.
func (s *Webhooks) Enable(ctx context.Context, name string) (Webhook, error) {
	w, err := s.change(ctx, name, func(r *webhookRecord) { r.Disabled, r.Failing = WebhookState{}, WebhookState{} })
	return w, wrapped("enable a webhook", err)
}

// Disable stops a webhook. It keeps an earlier reason. Errors: ErrWebhookNotFound, ErrConflict, ErrReadOnly.
func (s *Webhooks) Disable(ctx context.Context, name, reason string) (Webhook, error) {
	w, err := s.change(ctx, name, func(r *webhookRecord) {
		if r.Enabled() {
			r.Disabled = WebhookState{Since: now(), Reason: reason}
		}
	})
	return w, wrapped("disable a webhook", err)
}

// SetFailing notes that the destination of a webhook fails, or with "" that it works.
//
// Errors: ErrWebhookNotFound, ErrConflict, ErrReadOnly.
func (s *Webhooks) SetFailing(ctx context.Context, name, reason string) error {
	_, err := s.change(ctx, name, func(r *webhookRecord) {
		switch {
		case reason == "":
			r.Failing = WebhookState{}
		case r.Failing.Since.IsZero():
			r.Failing = WebhookState{Since: now(), Reason: reason}
		}
	})
	return wrapped("note the state of a webhook", err)
}

// Revoke makes a webhook pending, before its removal. Errors: ErrWebhookNotFound, ErrConflict, ErrReadOnly.
func (s *Webhooks) Revoke(ctx context.Context, name string) error {
	_, err := s.change(ctx, name, func(r *webhookRecord) { r.Confirmed = false })
	return wrapped("revoke a webhook", err)
}

// Remove removes the record of a webhook. A missing one is no error. Errors: ErrConflict, ErrReadOnly.
func (s *Webhooks) Remove(ctx context.Context, name string) error {
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		r, revision, err := s.read(ctx, name)
		if err != nil {
			return err
		}
		_, err = s.b.write(ctx, putAt(webhookKey(r.Name), nil, revision).asMarker())
		return err
	})
	if errors.Is(err, ErrWebhookNotFound) {
		return nil
	}
	return wrapped("remove a webhook", err)
}

// change stores a record that edit has changed, and returns the webhook. It does not write an unchanged record.
func (s *Webhooks) change(ctx context.Context, name string, edit func(*webhookRecord)) (Webhook, error) {
	var w Webhook
	err := compareAndSwap(ctx, func(ctx context.Context) error {
		r, revision, err := s.read(ctx, name)
		if err != nil {
			return err
		}
		before := r
		edit(&r)
		w = r.Webhook
		if reflect.DeepEqual(r, before) {
			return nil
		}
		return s.write(ctx, r, revision)
	})
	return w, err
}

func (s *Webhooks) read(ctx context.Context, name string) (webhookRecord, uint64, error) {
	if !validAttachmentName(name) {
		return webhookRecord{}, 0, ErrWebhookNotFound
	}
	e, err := s.b.get(ctx, webhookKey(name), true)
	if errors.Is(err, errKeyNotFound) || err == nil && e.deleted {
		return webhookRecord{}, 0, ErrWebhookNotFound
	}
	if err != nil {
		return webhookRecord{}, 0, err
	}
	r, err := decodeWebhook(e)
	return r, e.revision, err
}

func (s *Webhooks) write(ctx context.Context, r webhookRecord, revision uint64) error {
	record, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a webhook: %w", err)
	}
	_, err = s.b.write(ctx, putAt(webhookKey(r.Name), record, revision))
	return err
}

func decodeWebhook(e entry) (webhookRecord, error) {
	var r webhookRecord
	if err := json.Unmarshal(e.value, &r); err != nil {
		return webhookRecord{}, damaged(e)
	}
	return r, nil
}

// wrapped adds what a method does to its error.
func wrapped(what string, err error) error {
	if err != nil {
		return fmt.Errorf("kv: %s: %w", what, err)
	}
	return nil
}
