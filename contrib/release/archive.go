package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path"
	"time"
)

// writeArchive writes the archive of one system: zip for Windows, and tar.gz for all others.
func (r *release) writeArchive(t target, binary string) error {
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	files := append([]file{{t.program(), program, 0o755}}, r.docs...)
	folder := path.Base(r.name(t.name))
	for i := range files {
		files[i].name = path.Join(folder, files[i].name)
	}
	if t.os == "windows" {
		return writeFile(r.name(t.name+".zip"), func(w io.Writer) error { return writeZip(w, files, r.source.date) })
	}
	return writeFile(r.name(t.name+".tar.gz"), func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		if err := writeTar(z, files, r.source.date); err != nil {
			return err
		}
		return z.Close()
	})
}

// writeFile creates a file and has write fill it.
func writeFile(name string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f)
}

// writeTar writes files of root, with date as their time.
func writeTar(w io.Writer, files []file, date time.Time) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: int64(f.mode.Perm()), Size: int64(len(f.text)), ModTime: date, Format: tar.FormatPAX,
			Typeflag: tar.TypeReg}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(f.text); err != nil {
			return err
		}
	}
	return t.Close()
}

func writeZip(w io.Writer, files []file, date time.Time) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: date}
		h.SetMode(f.mode)
		part, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := part.Write(f.text); err != nil {
			return err
		}
	}
	return z.Close()
}
