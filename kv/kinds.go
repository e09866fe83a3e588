package kv

import (
	"fmt"
	"strings"

	"imctl/bridge/subject"
)

// A bucket keeps one message for each key. When a key is written again, nats-server drops the older message without a
// tombstone in its block files. If the newer message is purged or expires, and the server rebuilds its index from the
// blocks, as after kill -9, the server returns the older message as the key's value: the deleted key is back. So the
// way to delete a key depends on whether it may be overwritten. Each kind of key follows one rule.

// rule says how the keys of one kind are written and deleted.
type rule int

const (
	// permanent keys may be overwritten. Deleting a key writes a delete marker, which never expires and is never
	// purged: it must stay the newest message of its key.
	permanent rule = iota + 1
	// once keys are written if the key has no message, and are never overwritten. Deleting a key purges its only
	// message, which leaves a tombstone.
	once
	// expiring keys may be overwritten by messages that live at least as long as the message before. Deleting a key
	// writes a delete marker that lives as long. So no older message outlives the newest one. An expired message
	// counts as deleted, since a server that rebuilt its index may keep it.
	expiring
)

func (r rule) String() string {
	names := [...]string{"undeclared", "permanent", "once", "expiring"}
	if r < 0 || int(r) >= len(names) {
		return "unknown"
	}
	return names[r]
}

// The last words of the names of the four buckets.
const (
	usersBucket       = "users"
	tokensBucket      = "tokens"
	friendshipsBucket = "friendships"
	statesBucket      = "state"
)

// backupPrefix begins the key of the scheduled backups in the bucket of the state.
const backupPrefix = "backup."

// kind is a kind of key.
type kind struct {
	name   string
	bucket string // one of the four
	prefix string // of its keys; "" for all other keys of the bucket
	rule   rule
	unique bool // keys are random, so that no two writes use the same key; only with once
}

// kinds lists all kinds of keys. A bucket refuses to write a key of another kind.
var kinds = []kind{
	{name: "user", bucket: usersBucket, prefix: "user.", rule: permanent},
	{name: "account", bucket: usersBucket, prefix: "account.", rule: once},
	{name: "look", bucket: usersBucket, prefix: lookPrefix, rule: once},
	{name: "name", bucket: usersBucket, prefix: "name.", rule: once},
	{name: "node", bucket: usersBucket, prefix: "node.", rule: once},
	{name: "reset", bucket: usersBucket, prefix: "reset.", rule: expiring},
	{name: "attachment", bucket: usersBucket, prefix: "attach.", rule: permanent},
	{name: "invite", bucket: usersBucket, prefix: "invite.", rule: permanent},
	{name: "report", bucket: usersBucket, prefix: reportPrefix, rule: once},
	{name: "push", bucket: usersBucket, prefix: pushPrefix, rule: once},
	{name: "vapid", bucket: usersBucket, prefix: vapidPrefix, rule: once},
	{name: "seal", bucket: usersBucket, prefix: sealPrefix, rule: once},
	{name: "spent", bucket: usersBucket, prefix: spentPrefix, rule: expiring},
	{name: "webhook", bucket: usersBucket, prefix: webhookPrefix, rule: permanent},
	{name: "work", bucket: usersBucket, prefix: "work.", rule: once},
	{name: "gateway", bucket: usersBucket, prefix: gatewayPrefix, rule: permanent},
	{name: "owned", bucket: usersBucket, prefix: ownedPrefix, rule: once},
	{name: "token", bucket: tokensBucket, rule: once, unique: true},
	{name: "roster", bucket: friendshipsBucket, rule: permanent},
	{name: "cursors", bucket: friendshipsBucket, prefix: cursorsPrefix, rule: permanent},
	{name: "state", bucket: statesBucket, rule: permanent},
	{name: "backup", bucket: statesBucket, prefix: backupPrefix, rule: permanent},
	{name: "fill", bucket: usersBucket, prefix: paddingPrefix, rule: once},
	{name: "fill", bucket: friendshipsBucket, prefix: paddingPrefix, rule: once},
}

// kindsOf returns the kinds of the bucket with that name. The name ends with one of the four words, or with one of them
// and a slot.
func kindsOf(name string) []kind {
	name = subject.TrimSlot(name)
	name = name[strings.LastIndexByte(name, '_')+1:]
	var all []kind
	for _, k := range kinds {
		if k.bucket == name {
			all = append(all, k)
		}
	}
	return all
}

// kindOf returns the kind of a key, or of all keys that match a filter.
func kindOf(all []kind, key string) (kind, bool) {
	var found kind
	for _, k := range all {
		if strings.HasPrefix(key, k.prefix) && (found.rule == 0 || len(k.prefix) > len(found.prefix)) {
			found = k
		}
	}
	return found, found.rule != 0
}

// check returns an error for a write that breaks the rule of its kind.
func (k kind) check(w write) error {
	wrong := ""
	switch {
	case w.rewrites: // an upgrade, which removes the older messages
	case k.rule == permanent && w.ttl != 0:
		wrong = "it would expire"
	case k.rule == once && w.marker:
		wrong = "it must be purged instead"
	case k.rule == once && (!w.guarded && !k.unique || w.expect != 0):
		wrong = "it could overwrite a message"
	case k.rule == once && w.ttl != 0:
		wrong = "it would expire"
	case k.rule == expiring && !w.guarded:
		wrong = "it could overwrite a message that lives longer"
	case k.rule == expiring && (w.ttl <= 0 || w.ttl < w.minTTL):
		wrong = "the message before it lives longer"
	}
	if wrong == "" {
		return nil
	}
	return fmt.Errorf("key %s of kind %s, which is %s: %s", w.key, k.name, k.rule, wrong)
}
