// Package www embeds the web page that the server serves at /im/www/v1/.
package www

import (
	"bytes"
	"embed"
	"encoding/json"
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

// WorkerFile is the name of the service worker.
const WorkerFile = "sw.js"

// Worker returns the service worker for a version of the page, whose files have these addresses, relative to the page. A
// browser replaces the worker, and its copy of the files, when either changes.
//
// Errors: those of fs.FS.
func Worker(page fs.FS, version string, addresses []string) ([]byte, error) {
	worker, err := fs.ReadFile(page, WorkerFile)
	if err != nil {
		return nil, err
	}
	list, err := json.Marshal(addresses)
	if err != nil {
		return nil, err
	}
	worker = bytes.Replace(worker, []byte("const VERSION = '';"), []byte("const VERSION = '"+version+"';"), 1)
	return bytes.Replace(worker, []byte("const FILES = [];"), append(append([]byte("const FILES = "), list...), ';'), 1), nil
}
