package kv

import (
	"context"
	"fmt"
	"time"
)

// Detachment tells that the consumer of an attachment was removed because its program was away while the event log
// filled up.
type Detachment struct {
	Since   time.Time `json:"since"`            // when the consumer was removed
	Entries uint64    `json:"entries"`          // that the program had not acknowledged by then, and does not get any more
	Resumed time.Time `json:"resumed,omitzero"` // when a new consumer was created; zero: none exists
}

// IsDetached reports whether the attachment has lost its consumer to a Detachment and has no new one.
func (a Attachment) IsDetached() bool {
	return !a.Detached.Since.IsZero() && a.Detached.Resumed.IsZero()
}

// absence is how long the nodes have missed the program of an attachment. Only time in which a node looked for it
// counts, so that an attachment does not look abandoned after the servers themselves were down, or after a restore.
type absence struct {
	Absent  time.Duration `json:"absent,omitempty"` // since Attachment.Seen
	Checked time.Time     `json:"checked,omitzero"` // when a node last noted whether the program was there
}

// Observation is what a node knows about the program of an attachment.
type Observation struct {
	Seen  time.Time     // when the program was last there; zero: unknown
	Step  time.Duration // the record is not written more often than that, unless the program has come back
	Limit time.Duration // longest time since the previous observation that counts as absence
}

// Observe notes an observation, and returns how long the nodes have missed the program, all together. Several nodes may
// observe the same attachment: time counts once.
//
// Errors: ErrAttachmentNotFound, ErrConflict, ErrReadOnly.
func (a *Attachments) Observe(ctx context.Context, name string, o Observation) (time.Duration, error) {
	var absent time.Duration
	_, err := a.change(ctx, name, func(r *attachmentRecord) error {
		r.observe(time.Now().UTC(), o)
		absent = r.Absent
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("kv: observe an attachment: %w", err)
	}
	return absent, nil
}

func (r *attachmentRecord) observe(now time.Time, o Observation) {
	elapsed := now.Sub(r.Checked)
	switch {
	case o.Seen.After(r.Seen):
		if r.Absent == 0 && o.Seen.Sub(r.Seen) < o.Step {
			return
		}
		r.Seen, r.absence = o.Seen.UTC(), absence{Checked: now}
	case r.Checked.IsZero():
		r.Checked = now
	case elapsed >= o.Step:
		r.Absent += min(elapsed, o.Limit)
		r.Checked = now
	}
}

// Detach notes that the consumer of an attachment is to be removed, with the number of its unacknowledged entries, if
// the nodes have missed its program for idle. It reports false if another node has detached the attachment, the program
// has come back, or the attachment is being removed.
//
// Errors: ErrAttachmentNotFound, ErrConflict, ErrReadOnly.
func (a *Attachments) Detach(ctx context.Context, name string, idle time.Duration, entries uint64) (at Attachment, done bool, err error) {
	at, err = a.change(ctx, name, func(r *attachmentRecord) error {
		if done = !r.IsDetached() && r.Absent >= idle && r.Confirmed && r.SecretHash != ""; done {
			r.Detached = Detachment{Since: time.Now().UTC(), Entries: entries}
		}
		return nil
	})
	if err != nil {
		return Attachment{}, false, fmt.Errorf("kv: detach an attachment: %w", err)
	}
	return at, done, nil
}

// Resume notes that a detached attachment gets a new consumer. It reports false if the attachment is not detached.
//
// Errors: ErrAttachmentNotFound, ErrConflict, ErrReadOnly.
func (a *Attachments) Resume(ctx context.Context, name string) (at Attachment, done bool, err error) {
	at, err = a.change(ctx, name, func(r *attachmentRecord) error {
		if !r.Confirmed || r.SecretHash == "" {
			return ErrAttachmentNotFound
		}
		if done = r.IsDetached(); done {
			r.Detached.Resumed = time.Now().UTC()
			r.absence = absence{Checked: r.Detached.Resumed}
		}
		return nil
	})
	if err != nil {
		return Attachment{}, false, fmt.Errorf("kv: resume an attachment: %w", err)
	}
	return at, done, nil
}

// Unresume takes a Resume back whose consumer could not be created. Errors: ErrAttachmentNotFound, ErrConflict,
// ErrReadOnly.
func (a *Attachments) Unresume(ctx context.Context, at Attachment) error {
	_, err := a.change(ctx, at.Name, func(r *attachmentRecord) error {
		if r.Detached == at.Detached {
			r.Detached.Resumed = time.Time{}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("kv: detach an attachment again: %w", err)
	}
	return nil
}
