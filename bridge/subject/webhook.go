package subject

import "strings"

// WebhookStream returns the name of the stream with the events that webhooks have not posted yet.
func (p Prefix) WebhookStream() string { return strings.ToUpper(string(p)) + "_WEBHOOKS" }

// WebhookAll returns the filter of all events of webhooks.
func (p Prefix) WebhookAll() string { return string(p) + ".webhook.>" }

// WebhookQueue returns the subject of the events that a webhook is going to post.
func (p Prefix) WebhookQueue(name string) string { return string(p) + ".webhook.queue." + name }

// WebhookFailed returns the subject of the events that a webhook could not post.
func (p Prefix) WebhookFailed(name string) string { return string(p) + ".webhook.failed." + name }

// webhookMark begins the names of webhooks' consumers. No attachment may have such a name.
const webhookMark = "webhook="

// WebhookConsumer returns the name of the consumers of a webhook, on the event log and on the stream of webhooks.
func WebhookConsumer(name string) string { return webhookMark + name }

// IsWebhookConsumer reports whether a consumer of that name belongs to a webhook.
func IsWebhookConsumer(consumer string) bool { return strings.HasPrefix(consumer, webhookMark) }

// LogOffline returns the subject of the entry of a dialogue to a user that was offline.
func (p Prefix) LogOffline(from, to string) string {
	return string(p) + ".log." + OfflineKind + "." + from + "." + to
}

// OfflineKind is the first word of the entries of LogOffline.
const OfflineKind = "offline"
