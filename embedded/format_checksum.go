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

// newChecksum returns the hash of nats-server's files: HighwayHash, keyed by the SHA-256 of a name. The name is that of
// the stream for descriptions and indexes, and <stream>-<number> for message blocks.
func newChecksum(name string) hash.Hash64 {
	key := sha256.Sum256([]byte(name))
	h, err := highwayhash.New64(key[:])
	if err != nil {
		panic(err) // The key has the right length.
	}
	return h
}
