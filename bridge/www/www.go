// Package www embeds the web page that the server serves at /im/www/v1/.
package www

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
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

// Worker returns the service worker for the files of the page. It has their names, and a version that changes with any
// file: so a browser replaces the worker, and its copy of the files, when the page changes.
//
// Errors: those of fs.FS.
func Worker(page fs.FS) ([]byte, error) {
	worker, err := fs.ReadFile(page, WorkerFile)
	if err != nil {
		return nil, err
	}
	var names []string
	sum := sha256.New()
	err = fs.WalkDir(page, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(page, name)
		if err != nil {
			return err
		}
		sum.Write([]byte(name))
		sum.Write(body)
		if name != WorkerFile {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	worker = bytes.Replace(worker, []byte("const VERSION = '';"), []byte("const VERSION = '"+hex.EncodeToString(sum.Sum(nil)[:8])+"';"), 1)
	return bytes.Replace(worker, []byte("const FILES = [];"), append(append([]byte("const FILES = "), list...), ';'), 1), nil
}
