// Package picture finds the image in the text of a profile's picture, and names the address under which a client loads
// the image, instead of receiving the text with every profile.
package picture

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
)

// Image is the image of a profile.
type Image struct {
	Hash string // SHA-256 of Data, in hex
	Type string // one of the types that no browser executes
	Data []byte
}

// Path is the path below which images are served: <Path><hash>/<id of the user>.
const Path = "/im/pictures/"

// MaxText limits the text that is no image, in bytes, with which Shown replaces a picture.
const MaxText = 1 << 10

// maxPrefix limits what may precede the base64 of an image, such as "data:image/png;base64,".
const maxPrefix = 64

// safe are the types that are served. SVG is none of them: it can have scripts.
var safe = map[string]bool{"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true}

var blanks = strings.NewReplacer("\r", "", "\n", "", "\t", "", " ", "")

// Parse returns the image of a picture. The text is base64, perhaps in lines, perhaps after a prefix that ends with a
// colon or a comma: "img/base64:", as in the protocol, or that of a data URL. The bytes decide on the type, not the
// prefix. ok is false for any other text, and for an image of another type.
func Parse(text string) (i Image, ok bool) {
	begin := strings.LastIndexAny(text[:min(len(text), maxPrefix)], ":,") + 1
	encoded := text[begin:]
	if strings.ContainsAny(encoded, "\r\n\t ") {
		encoded = blanks.Replace(encoded)
	}
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return Image{}, false
	}
	if i.Type = http.DetectContentType(data); !safe[i.Type] {
		return Image{}, false
	}
	sum := sha256.Sum256(data)
	i.Hash, i.Data = hex.EncodeToString(sum[:]), data
	return i, true
}

// Shown returns what replaces the picture of the user with that id: the address of its image, or a short text as it
// is. It returns "" for a longer text, and for a text that looks like an address of this server.
func Shown(id, text string) string {
	if text == "" {
		return ""
	}
	if i, ok := Parse(text); ok {
		return Path + i.Hash + "/" + id
	}
	if len(text) > MaxText || strings.HasPrefix(text, "/") {
		return ""
	}
	return text
}
