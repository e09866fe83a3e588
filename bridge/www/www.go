// Package www embeds the web page that the server serves at /im/www/v1/.
package www

import (
	"embed"
	"io/fs"
)

//go:embed v1
var files embed.FS

// FS returns the files of the page, with chat.html at the root.
func FS() fs.FS {
	root, err := fs.Sub(files, "v1")
	if err != nil {
		panic(err) // "v1" is a valid path: fs.Sub has no other reason to fail
	}
	return root
}
