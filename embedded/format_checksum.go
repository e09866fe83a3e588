package embedded

import (
	"crypto/sha256"
	"hash"

	"github.com/minio/highwayhash"
)

// checksumSize is the size of the checksums in nats-server's files, in bytes.
const checksumSize = highwayhash.Size64

// checksum is the value of a checksum.
type checksum [checksumSize]byte

// newChecksum returns the hash of nats-server's files: HighwayHash, keyed by the SHA-256 of key. key is the name of the
// stream for its description and its index, <stream>/<consumer> for the description of a consumer, and
// <stream>-<number> for a message block.
func newChecksum(key string) hash.Hash64 {
	sum := sha256.Sum256([]byte(key))
	h, err := highwayhash.New64(sum[:])
	if err != nil {
		panic(err) // The key has the right length.
	}
	return h
}
