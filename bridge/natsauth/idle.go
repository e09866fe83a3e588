package natsauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"imctl/bridge/eventlog"
	"imctl/kv"
)

const (
	// observeEvery is the longest interval at which a node notes whether the programs of consumers are there.
	observeEvery = 10 * time.Minute
	// idleSteps is how many notes are taken in the time after which a program counts as gone, at least.
	idleSteps = 100
	// observeSlack is added to the interval of the notes: a node takes one after a reading of the log's usage.
	observeSlack = 20 * time.Second
)

// tending is what a node remembers between two calls of Attachments.Tend.
type tending struct {
	mu     sync.Mutex
	logins map[string]time.Time // of attachments on this node, since the last note
	seen   map[string]time.Time // by attachment
	next   time.Time            // when the next note is due
}

// loggedIn notes the login of an attachment.
func (t *tending) loggedIn(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.logins == nil {
		t.logins = make(map[string]time.Time)
	}
	t.logins[name] = time.Now()
}

// takeLogins returns the logins since the last call, and whether a note is due: because of them, or of the time.
func (t *tending) takeLogins(now time.Time) (logins map[string]time.Time, due bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	logins = t.logins
	t.logins = nil
	return logins, len(logins) > 0 || !now.Before(t.next)
}

// Status is an attachment with the lag of its consumer.
type Status struct {
	kv.Attachment
	Consumer *eventlog.Lag `json:"consumer,omitempty"` // nil: there is none
}

// Statuses returns all attachments by name, each with the lag of its consumer. The time at which its program was last
// seen is that of its record or of NATS, whichever is later.
func (as *Attachments) Statuses(ctx context.Context) ([]Status, error) {
	list, err := as.List(ctx)
	if err != nil {
		return nil, err
	}
	usage, err := as.consumers.Usage(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Status, len(list))
	for i, a := range list {
		all[i] = Status{Attachment: a}
		if lag, ok := usage.Consumer(a.Name); ok && a.Role.HasConsumer() {
			all[i].Consumer = &lag
			if seen := seenBy(lag, usage.Read); seen.After(a.Seen) {
				all[i].Seen = seen
			}
		}
	}
	return all, nil
}

// seenBy returns when NATS has seen the program of a consumer last: now if requests of it wait for entries.
func seenBy(lag eventlog.Lag, now time.Time) time.Time {
	if lag.Waiting > 0 {
		return now
	}
	return lag.Seen
}

// Tend notes which programs of consumers are there, and detaches a program that is not, if the log is so full that it
// may stop messaging soon, the nodes have missed the program for idle, and its consumer holds the log up. It detaches
// one at most, and returns those that it has detached. An idle of 0 detaches none. u is a reading of the log's usage
// that was taken a moment ago. Several nodes may tend the attachments at once.
func (as *Attachments) Tend(ctx context.Context, u eventlog.Usage, idle time.Duration) ([]kv.Attachment, error) {
	step := observeEvery
	if idle > 0 {
		step = min(step, idle/idleSteps)
	}
	now := time.Now()
	logins, due := as.tending.takeLogins(now)
	if !due && !u.Crowded() {
		return nil, nil
	}
	list, err := as.List(ctx)
	if err != nil {
		return nil, err
	}
	abandoned, seen := make(map[string]bool), make(map[string]time.Time)
	for _, a := range list {
		lag, exists := u.Consumer(a.Name)
		switch {
		case !a.Role.HasConsumer() || !exists:
			continue
		case a.IsDetached():
			if err := as.completeDetach(ctx, a.Name); err != nil {
				return nil, err
			}
			continue
		}
		o := kv.Observation{Seen: later(logins[a.Name], seenBy(lag, u.Read)), Step: step, Limit: step + observeSlack}
		if now.Sub(o.Seen) > step {
			connected, err := as.disconnector.connected(ctx, as.prefix.AttachmentConn(a.Name))
			if err != nil {
				return nil, err
			}
			if connected {
				o.Seen = now
			}
		}
		absent, err := as.store.Attachments.Observe(ctx, a.Name, o)
		if errors.Is(err, kv.ErrAttachmentNotFound) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		abandoned[a.Name] = idle > 0 && absent >= idle
		seen[a.Name] = later(a.Seen, o.Seen)
	}
	as.tending.noted(now.Add(step), seen)
	if !u.Crowded() {
		return nil, nil
	}
	lag, ok := u.Removable(abandoned)
	if !ok {
		return nil, nil
	}
	return as.detach(ctx, lag, idle)
}

func (t *tending) noted(next time.Time, seen map[string]time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next, t.seen = next, seen
}

// Seen returns when the programs of consumers were last seen, by attachment, as of the last note.
func (as *Attachments) Seen() map[string]time.Time {
	as.tending.mu.Lock()
	defer as.tending.mu.Unlock()
	return maps.Clone(as.tending.seen)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// detach removes the consumer of an abandoned attachment, unless another node does.
func (as *Attachments) detach(ctx context.Context, lag eventlog.Lag, idle time.Duration) ([]kv.Attachment, error) {
	a, done, err := as.store.Attachments.Detach(ctx, lag.Name, idle, lag.Behind())
	if err != nil || !done {
		return nil, err
	}
	return []kv.Attachment{a}, as.completeDetach(ctx, a.Name)
}

// completeDetach removes the consumer of a detached attachment, with the note that it must exist.
func (as *Attachments) completeDetach(ctx context.Context, name string) error {
	a, err := as.store.Attachments.Get(ctx, name)
	if errors.Is(err, kv.ErrAttachmentNotFound) {
		return nil
	}
	if err != nil || !a.IsDetached() {
		return err
	}
	if err := as.removeConsumer(ctx, name); err != nil {
		return err
	}
	// A login may have resumed the attachment at the same time.
	if a, err = as.store.Attachments.Get(ctx, name); err != nil || a.IsDetached() {
		return err
	}
	return as.createConsumer(ctx, a)
}

// removeConsumer removes the consumer of an attachment and, before, the note that it must exist.
func (as *Attachments) removeConsumer(ctx context.Context, name string) error {
	if err := as.store.States.Forget(ctx, as.consumers.Mark(name)); err != nil {
		return err
	}
	return as.consumers.Remove(ctx, name)
}

// Resume gives a detached attachment a new consumer, for entries from now on.
//
// Errors: kv.ErrAttachmentNotFound, kv.ErrAttachmentInvalid if the attachment is not detached, kv.ErrReadOnly.
func (as *Attachments) Resume(ctx context.Context, name string) (kv.Attachment, error) {
	a, done, err := as.resume(ctx, name)
	if err == nil && !done {
		err = fmt.Errorf("%w: the attachment %s is not detached", kv.ErrAttachmentInvalid, name)
	}
	return a, err
}

// resume is Resume. It reports false if the attachment was not detached.
func (as *Attachments) resume(ctx context.Context, name string) (kv.Attachment, bool, error) {
	a, done, err := as.store.Attachments.Resume(ctx, name)
	if err != nil || !done {
		return a, false, err
	}
	err = as.removeConsumer(ctx, name) // a node may have ended before it removed the old one
	if err == nil {
		err = as.createConsumer(ctx, a)
	}
	if err == nil {
		err = as.cluster.ConsumerAttached(ctx)
	}
	if err != nil {
		return a, false, errors.Join(err, as.removeConsumer(ctx, name), as.store.Attachments.Unresume(ctx, a))
	}
	return a, true, nil
}
