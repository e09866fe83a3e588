package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
)

const sumsFile = "SHA256SUMS"

// release is a release in the making.
type release struct {
	source  source
	out     string // directory of the finished files
	targets []target
	// maintainer is the name and the address in packages: NAME <ADDRESS>.
	maintainer string
	work       string // directory of the files in the making
	docs       []file // files of each archive and package
	built      map[target]string
	images     []image
}

// build makes all files of the release.
func (r *release) build(ctx context.Context) (err error) {
	if entries, err := os.ReadDir(r.out); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: remove it", r.out)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "imctl-release"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.work)) }()
	if err := r.makeDocs(ctx); err != nil {
		return err
	}
	for _, t := range r.targets {
		log.Print(t.name)
		binary, err := r.binary(ctx, t)
		if err != nil {
			return err
		}
		if err := r.buildTarget(t, binary); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	if len(r.images) > 0 {
		if err := r.writeImages(); err != nil {
			return fmt.Errorf("container image: %w", err)
		}
	}
	return writeSums(r.out)
}

// binary returns the binary for t, and builds it once.
func (r *release) binary(ctx context.Context, t target) (string, error) {
	if name, ok := r.built[t]; ok {
		return name, nil
	}
	name, err := buildBinary(ctx, r.source, t, r.work)
	if err == nil {
		if r.built == nil {
			r.built = make(map[target]string)
		}
		r.built[t] = name
	}
	return name, err
}

// buildTarget makes the files of one system.
func (r *release) buildTarget(t target, binary string) error {
	if err := r.writeArchive(t, binary); err != nil {
		return err
	}
	if err := r.writeSBOM(t, binary); err != nil {
		return err
	}
	if t.os != "linux" {
		return nil
	}
	for _, format := range []string{"deb", "rpm"} {
		if err := r.writePackage(format, t, binary); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
	}
	image, err := r.makeImage(t, binary)
	if err == nil {
		r.images = append(r.images, image)
	}
	return err
}

// name returns the name of a file of the release.
func (r *release) name(suffix string) string {
	return filepath.Join(r.out, "imctl-"+r.source.number()+"-"+suffix)
}

// writeSums writes the checksums of all files in dir, in the form of sha256sum.
func writeSums(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, e := range entries {
		sum, err := fileSum(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sum, e.Name())
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), []byte(sums.String()), 0o644)
}

func fileSum(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}
