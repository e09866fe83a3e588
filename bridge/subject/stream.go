package subject

import "strings"

// LogStream returns the name of the event log's stream.
func (p Prefix) LogStream() string { return strings.ToUpper(string(p)) + "_LOG" }

// LogRestoreStream returns the name of the stream in which a restore stages the event log.
func (p Prefix) LogRestoreStream() string { return p.LogStream() + "_RESTORE" }

// LogRestore returns the subject of the stream in which a restore stages the event log.
func (p Prefix) LogRestore() string { return string(p) + ".restore.log" }

// ConsumerAdvisory returns the filter of what JetStream tells of the consumers of a stream. action is CREATED or
// DELETED.
func ConsumerAdvisory(action, stream string) string {
	return "$JS.EVENT.ADVISORY.CONSUMER." + action + "." + stream + ".>"
}

// ConsumerPublish returns the filters on which the program that reads a consumer in a JetStream domain has to publish.
// NATS has two forms of acknowledgement subjects, with 9 words and with 11 or more. The filters have the same numbers
// of words: a wildcard for more words in one form would also match the subjects of other consumers in the other form.
func ConsumerPublish(domain, stream, consumer string) []string {
	return []string{
		API(domain) + "CONSUMER.INFO." + stream + "." + consumer,
		API(domain) + "CONSUMER.MSG.NEXT." + stream + "." + consumer,
		"$JS.ACK." + stream + "." + consumer + ".*.*.*.*.*",
		"$JS.ACK.*.*." + stream + "." + consumer + ".*.*.*.*.>", // with the JetStream domain and the hash of the account
	}
}

// Slots returns the two sets of buckets. One is in use, and a restore fills the other.
func Slots() []string { return []string{slotA, slotB} }

const (
	slotA = ""
	slotB = "b"
)

// OtherSlot returns the set of buckets that is not in use while slot is.
func OtherSlot(slot string) string {
	if slot == slotA {
		return slotB
	}
	return slotA
}

// TrimSlot returns the name of a bucket without its slot.
func TrimSlot(bucket string) string { return strings.TrimSuffix(bucket, "_"+slotB) }

// Buckets are the names of the buckets of one slot.
type Buckets struct {
	Users, Tokens, Friendships string
}

// Buckets returns the names of the buckets of a slot.
func (p Prefix) Buckets(slot string) Buckets {
	if slot != "" {
		slot = "_" + slot
	}
	name := func(what string) string { return string(p) + "_" + what + slot }
	return Buckets{Users: name("users"), Tokens: name("tokens"), Friendships: name("friendships")}
}

// All returns the names as a list.
func (b Buckets) All() []string { return []string{b.Users, b.Tokens, b.Friendships} }

// Streams returns the names of the streams behind the buckets.
func (b Buckets) Streams() []string {
	return []string{BucketStream(b.Users), BucketStream(b.Tokens), BucketStream(b.Friendships)}
}

// StateBucket returns the name of the bucket of the state. It does not depend on the slot in use.
func (p Prefix) StateBucket() string { return string(p) + "_state" }

// StateStream returns the name of the stream behind the bucket of the state.
func (p Prefix) StateStream() string { return BucketStream(p.StateBucket()) }

// AllBuckets returns the names of all buckets: those of both slots and the bucket of the state.
func (p Prefix) AllBuckets() []string {
	return append(append(p.Buckets(slotA).All(), p.Buckets(slotB).All()...), p.StateBucket())
}

// BucketStream returns the name of the stream behind a bucket.
func BucketStream(bucket string) string { return "KV_" + bucket }

// BucketKeys returns the subject in front of the keys of a bucket: "$KV.<bucket>.".
func BucketKeys(bucket string) string { return "$KV." + bucket + "." }
