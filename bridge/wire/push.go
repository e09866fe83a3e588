package wire

// The longest that fields of a push subscription may be, in characters.
const (
	MaxEndpoint = 1024
	MaxPushKey  = 128
	MaxLanguage = 16
)

// PushKey is the answer with the public VAPID key of the server, base64url.
type PushKey string

// Append appends the answer to dst, with code 200.
func (k PushKey) Append(dst []byte) []byte {
	return append(appendKey(appendHead(dst, Success), `,"key":`, string(k)), '}')
}
