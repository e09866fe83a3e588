package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// file is a file of an archive, a package or an image.
type file struct {
	name string // with / between folders
	text []byte
	mode fs.FileMode
}

// shippedTrees are the directories of the source whose documents and examples are in each archive and package, below
// the same path, so that the links between them work.
var shippedTrees = []string{"docs", "contrib/caddy", "contrib/fail2ban", "contrib/grafana", "contrib/nginx", "contrib/prometheus"}

// makeDocs collects the files that each archive and package has besides the binary: licences, configuration, documents,
// examples, manual pages and completions. The binary of this system writes the last two.
func (r *release) makeDocs(ctx context.Context) error {
	for _, name := range []string{"LICENSE", "NOTICE", noticesFile, "CHANGELOG.md", "README.md", "config.yaml"} {
		text, err := os.ReadFile(filepath.Join(r.source.root, name))
		if err != nil {
			return err
		}
		r.docs = append(r.docs, file{name, text, 0o644})
	}
	if err := r.addTrees(); err != nil {
		return err
	}
	program, err := r.binary(ctx, host())
	if err != nil {
		return err
	}
	environ := append(os.Environ(), "SOURCE_DATE_EPOCH="+strconv.FormatInt(r.source.date.Unix(), 10))
	man := filepath.Join(r.work, "man")
	if _, err := command(ctx, r.work, environ, program, "generate", "man", man); err != nil {
		return err
	}
	for _, section := range []string{"man1", "man5"} {
		entries, err := os.ReadDir(filepath.Join(man, section))
		if err != nil {
			return err
		}
		for _, e := range entries {
			text, err := os.ReadFile(filepath.Join(man, section, e.Name()))
			if err != nil {
				return err
			}
			r.docs = append(r.docs, file{path.Join("man", section, e.Name()), text, 0o644})
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		text, err := command(ctx, r.work, environ, program, "completion", shell)
		if err != nil {
			return err
		}
		r.docs = append(r.docs, file{"completions/imctl." + shell, text, 0o644})
	}
	return nil
}

// addTrees adds the files of shippedTrees, without pictures.
func (r *release) addTrees() error {
	source := os.DirFS(r.source.root)
	for _, tree := range shippedTrees {
		err := fs.WalkDir(source, tree, func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || path.Ext(name) == ".png" {
				return err
			}
			text, err := fs.ReadFile(source, name)
			r.docs = append(r.docs, file{name, text, 0o644})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// installed returns where packages have a file of makeDocs, and its contents there. It returns "" for a file that they
// do not have.
func installed(f file) (file, error) {
	const doc = "/usr/share/doc/imctl/"
	packed := false
	switch {
	case f.name == "NOTICE":
		f.name = doc + "copyright"
	case f.name == "CHANGELOG.md":
		f.name, packed = doc+"changelog.gz", true
	case strings.HasPrefix(f.name, "man/"):
		f.name, packed = "/usr/share/"+f.name+".gz", true
	case f.name == "completions/imctl.bash":
		f.name = "/usr/share/bash-completion/completions/imctl"
	case f.name == "completions/imctl.zsh":
		f.name = "/usr/share/zsh/vendor-completions/_imctl"
	case f.name == "completions/imctl.fish":
		f.name = "/usr/share/fish/vendor_completions.d/imctl.fish"
	case f.name == "completions/imctl.powershell":
		f.name = ""
	default:
		f.name = doc + f.name
	}
	if packed {
		text, err := compress(f.text)
		if err != nil {
			return f, err
		}
		f.text = text
	}
	return f, nil
}

// compress returns text in gzip, without a time.
func compress(text []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return b.Bytes(), nil
}
