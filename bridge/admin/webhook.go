package admin

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"
	"time"

	"imctl/bridge/webhook"
	"imctl/kv"
)

// AddWebhook adds a webhook.
type AddWebhook struct {
	Name     string   `json:"name"`
	URL      string   `json:"url"`
	Events   []string `json:"events"`
	Payload  bool     `json:"payload,omitempty"`  // events have the text of dialogues
	Rate     float64  `json:"rate,omitempty"`     // requests a second at most; 0 for no limit
	Parallel int      `json:"parallel,omitempty"` // requests at the same time; 0 for the default
}

// WebhookRef names a webhook.
type WebhookRef struct {
	Name string `json:"name"`
}

// RotateWebhook gives a webhook a new secret.
type RotateWebhook struct {
	Name string `json:"name"`
	// Both is how long both secrets sign, such as 24h; "" for the default.
	Both string `json:"both,omitempty"`
}

// WebhookSecret is a webhook with its secret, which cannot be read again.
type WebhookSecret struct {
	kv.Webhook
	Secret string `json:"secret"`
}

// Webhooks are all webhooks, ordered by name.
type Webhooks struct {
	Webhooks []webhook.Status `json:"webhooks"`
}

// ListFailed requests a page of the dead letters of a webhook.
type ListFailed struct {
	Name  string `json:"name"`
	After string `json:"after,omitempty"` // the Next of the previous page
	Limit int    `json:"limit,omitempty"` // 1 to MaxPage; 0 is MaxPage
}

// FailedEvents is a page of dead letters, oldest first.
type FailedEvents struct {
	Failed []webhook.Failed `json:"failed"`
	Next   string           `json:"next"` // cursor of the next page, "" on the last
}

// FailedRef names dead letters of a webhook. No ids mean all.
type FailedRef struct {
	Name string   `json:"name"`
	IDs  []uint64 `json:"ids,omitempty"`
}

// FailedCount is how many dead letters were replayed or dropped.
type FailedCount struct {
	Count int `json:"count"`
}

// webhookFailure returns err as the client sees it.
func webhookFailure(name string, err error) error {
	switch {
	case errors.Is(err, kv.ErrWebhookNotFound):
		return failure(NotFound, "there is no webhook %q", name)
	case errors.Is(err, kv.ErrWebhookExists):
		return failure(AlreadyExists, "a webhook with this name already exists")
	case errors.Is(err, kv.ErrWebhookInvalid):
		_, why, _ := strings.Cut(err.Error(), kv.ErrWebhookInvalid.Error()+": ")
		return failure(Invalid, "%s", why)
	case errors.Is(err, webhook.ErrFailed):
		_, id, _ := strings.Cut(err.Error(), webhook.ErrFailed.Error()+": ")
		return failure(NotFound, "%s", strings.TrimSpace("there is no such dead letter "+id))
	}
	return err
}

func (s *Service) webhookEndpoints() []endpoint {
	const (
		record = `{"name", "url", "events", "payload", "rate", "parallel", "created", "disabled": {"since", "reason"}, "failing": {"since", "reason"}, "old_secret_until"}`
		status = record + `, each with "waiting" and "failed": numbers of events`
		dead   = `{"id", "webhook_id", "type", "time", "queued", "attempts", "reason"}`
	)
	return []endpoint{
		{"webhook", "add", "Add a webhook, which posts events from now on", `{"name", "url", "events": names, "payload": default false, "rate": a second, default no limit, "parallel": default 4}`,
			record + ` and "secret"`, "already_exists, invalid, failed", handler(func(ctx context.Context, r AddWebhook) (w WebhookSecret, err error) {
				w.Webhook, w.Secret, err = s.o.Webhooks.Add(ctx, kv.Webhook{Name: r.Name, URL: r.URL, Events: r.Events, Payload: r.Payload, Rate: r.Rate, Parallel: r.Parallel})
				return w, webhookFailure(r.Name, err)
			})},
		{"webhook", "list", "List the webhooks", `{}`, `{"webhooks": [` + status + `]}`, "failed",
			handler(func(ctx context.Context, _ struct{}) (all Webhooks, err error) {
				all.Webhooks, err = s.o.Webhooks.List(ctx)
				return all, err
			})},
		{"webhook", "show", "Show a webhook", `{"name"}`, status, "not_found, failed", handler(func(ctx context.Context, r WebhookRef) (webhook.Status, error) {
			w, err := s.o.Webhooks.Get(ctx, r.Name)
			return w, webhookFailure(r.Name, err)
		})},
		{"webhook", "remove", "Remove a webhook with its events and dead letters", `{"name"}`, record, "not_found, failed",
			handler(func(ctx context.Context, r WebhookRef) (kv.Webhook, error) {
				w, err := s.o.Store.Webhooks.Get(ctx, r.Name)
				if err == nil {
					err = s.o.Webhooks.Remove(ctx, r.Name)
				}
				return w, webhookFailure(r.Name, err)
			})},
		{"webhook", "test", "Post one event of the type webhook.test", `{"name"}`, `{"ok", "status", "problem", "duration": in seconds}`, "not_found, failed",
			handler(func(ctx context.Context, r WebhookRef) (webhook.TestResult, error) {
				result, err := s.o.Webhooks.Test(ctx, r.Name)
				return result, webhookFailure(r.Name, err)
			})},
		{"webhook", "rotate", "Give a webhook a new secret", `{"name", "both": how long both secrets sign, default 24h}`, record + ` and "secret"`, "not_found, invalid, failed", handler(s.rotateWebhook)},
		{"webhook", "enable", "Let a disabled webhook take events from now on", `{"name"}`, record, "not_found, failed",
			handler(func(ctx context.Context, r WebhookRef) (kv.Webhook, error) {
				w, err := s.o.Webhooks.Enable(ctx, r.Name)
				return w, webhookFailure(r.Name, err)
			})},
		{"webhook", "disable", "Stop a webhook, which takes no events then", `{"name"}`, record, "not_found, failed",
			handler(func(ctx context.Context, r WebhookRef) (kv.Webhook, error) {
				w, err := s.o.Webhooks.Disable(ctx, r.Name, "by an administrator")
				return w, webhookFailure(r.Name, err)
			})},
		{"failed", "list", "List a page of the dead letters of a webhook, oldest first", `{"name", "after": cursor, "limit": 1 to 500}`,
			`{"failed": [` + dead + `], "next": cursor, "" on the last page}`, "not_found, invalid, failed", handler(s.listFailed)},
		{"failed", "show", "Show a dead letter", `{"name", "ids": one id}`, dead + ` and "event", without the text of a dialogue`, "not_found, invalid, failed", handler(s.showFailed)},
		{"failed", "replay", "Queue dead letters again", `{"name", "ids": default all}`, `{"count"}`, "not_found, failed",
			handler(func(ctx context.Context, r FailedRef) (FailedCount, error) {
				n, err := s.o.Webhooks.Replay(ctx, r.Name, r.IDs...)
				return FailedCount{n}, webhookFailure(r.Name, err)
			})},
		{"failed", "drop", "Remove dead letters", `{"name", "ids": default all}`, `{"count"}`, "not_found, failed",
			handler(func(ctx context.Context, r FailedRef) (FailedCount, error) {
				n, err := s.o.Webhooks.Drop(ctx, r.Name, r.IDs...)
				return FailedCount{n}, webhookFailure(r.Name, err)
			})},
	}
}

func (s *Service) rotateWebhook(ctx context.Context, r RotateWebhook) (w WebhookSecret, err error) {
	both := webhook.RotationTime
	if r.Both != "" {
		if both, err = time.ParseDuration(r.Both); err != nil || both < 0 || both > webhook.MaxRotationTime {
			return w, failure(Invalid, "both is %q: use a duration from 0s to %s", r.Both, webhook.MaxRotationTime)
		}
	}
	w.Webhook, w.Secret, err = s.o.Webhooks.Rotate(ctx, r.Name, both)
	return w, webhookFailure(r.Name, err)
}

func (s *Service) listFailed(ctx context.Context, r ListFailed) (FailedEvents, error) {
	var after uint64
	if r.After != "" {
		var err error
		if after, err = strconv.ParseUint(r.After, 10, 64); err != nil {
			return FailedEvents{}, failure(Invalid, "invalid after: use the next of the previous page")
		}
	}
	return fitPage(s, r.Limit, MaxPage, func(limit int) (FailedEvents, error) {
		all, next, err := s.o.Webhooks.Dead(ctx, r.Name, after, limit)
		page := FailedEvents{Failed: all}
		if next > 0 {
			page.Next = strconv.FormatUint(next, 10)
		}
		return page, webhookFailure(r.Name, err)
	})
}

func (s *Service) showFailed(ctx context.Context, r FailedRef) (webhook.Failed, error) {
	if len(r.IDs) != 1 {
		return webhook.Failed{}, failure(Invalid, "ids must have one id")
	}
	f, err := s.o.Webhooks.DeadLetter(ctx, r.Name, r.IDs[0])
	return f, webhookFailure(r.Name, err)
}

// AddWebhook adds a webhook. Codes: AlreadyExists, Invalid.
func (c *Client) AddWebhook(ctx context.Context, r AddWebhook) (WebhookSecret, error) {
	return call[WebhookSecret](ctx, c, "webhook", "add", r)
}

// Webhooks returns all webhooks.
func (c *Client) Webhooks(ctx context.Context) (Webhooks, error) {
	return call[Webhooks](ctx, c, "webhook", "list", struct{}{})
}

// Webhook returns a webhook. Codes: NotFound.
func (c *Client) Webhook(ctx context.Context, name string) (webhook.Status, error) {
	return call[webhook.Status](ctx, c, "webhook", "show", WebhookRef{name})
}

// RemoveWebhook removes a webhook and returns it. Codes: NotFound.
func (c *Client) RemoveWebhook(ctx context.Context, name string) (kv.Webhook, error) {
	return call[kv.Webhook](ctx, c, "webhook", "remove", WebhookRef{name})
}

// TestWebhook posts one event. Codes: NotFound.
func (c *Client) TestWebhook(ctx context.Context, name string) (webhook.TestResult, error) {
	return call[webhook.TestResult](ctx, c, "webhook", "test", WebhookRef{name})
}

// RotateWebhook gives a webhook a new secret. Codes: NotFound, Invalid.
func (c *Client) RotateWebhook(ctx context.Context, r RotateWebhook) (WebhookSecret, error) {
	return call[WebhookSecret](ctx, c, "webhook", "rotate", r)
}

// EnableWebhook lets a disabled webhook take events, and returns it. Codes: NotFound.
func (c *Client) EnableWebhook(ctx context.Context, name string) (kv.Webhook, error) {
	return call[kv.Webhook](ctx, c, "webhook", "enable", WebhookRef{name})
}

// DisableWebhook stops a webhook and returns it. Codes: NotFound.
func (c *Client) DisableWebhook(ctx context.Context, name string) (kv.Webhook, error) {
	return call[kv.Webhook](ctx, c, "webhook", "disable", WebhookRef{name})
}

// FailedEvents returns the pages of the dead letters of a webhook, oldest first. It ends after the first error. Codes:
// NotFound.
func (c *Client) FailedEvents(ctx context.Context, r ListFailed) iter.Seq2[[]webhook.Failed, error] {
	return pages(func(after string) ([]webhook.Failed, string, error) {
		r.After = after
		p, err := call[FailedEvents](ctx, c, "failed", "list", r)
		return p.Failed, p.Next, err
	}, r.After)
}

// FailedEvent returns a dead letter. Codes: NotFound.
func (c *Client) FailedEvent(ctx context.Context, name string, id uint64) (webhook.Failed, error) {
	return call[webhook.Failed](ctx, c, "failed", "show", FailedRef{name, []uint64{id}})
}

// ReplayFailed queues dead letters again, all if no ids are given, and returns how many. Codes: NotFound.
func (c *Client) ReplayFailed(ctx context.Context, name string, ids ...uint64) (FailedCount, error) {
	return call[FailedCount](ctx, c, "failed", "replay", FailedRef{name, ids})
}

// DropFailed removes dead letters, all if no ids are given, and returns how many. Codes: NotFound.
func (c *Client) DropFailed(ctx context.Context, name string, ids ...uint64) (FailedCount, error) {
	return call[FailedCount](ctx, c, "failed", "drop", FailedRef{name, ids})
}
