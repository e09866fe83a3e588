package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// imageUser is the user of the container and the owner of its data. contrib/container/Containerfile has the same one.
const (
	imageUser = 10001
	imageData = "/var/lib/imctl"
)

// image is the container image of one system.
type image struct {
	v1.Image
	platform v1.Platform
}

// platformOf returns the name of a target in images.
func platformOf(t target) v1.Platform {
	p := v1.Platform{OS: t.os, Architecture: t.arch}
	if t.arch == "arm" {
		p.Variant = "v7"
	}
	return p
}

// makeImage makes the container image of a Linux system: the binary, certificate authorities and a user, without a
// shell.
func (r *release) makeImage(t target, binary string) (image, error) {
	platform := platformOf(t)
	program, err := os.ReadFile(binary)
	if err != nil {
		return image{}, err
	}
	text, err := imageLayer(program, r.docs, r.source.date)
	if err != nil {
		return image{}, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return image{}, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{Layer: layer, MediaType: types.OCILayer,
		History: v1.History{Created: v1.Time{Time: r.source.date}, CreatedBy: "contrib/release"}})
	if err != nil {
		return image{}, err
	}
	old, err := img.ConfigFile()
	if err != nil {
		return image{}, err
	}
	config := r.imageConfig(platform)
	config.RootFS, config.History = old.RootFS, old.History
	img, err = mutate.ConfigFile(img, config)
	return image{img, platform}, err
}

// imageConfig returns the configuration of an image.
func (r *release) imageConfig(platform v1.Platform) *v1.ConfigFile {
	return &v1.ConfigFile{
		Created: v1.Time{Time: r.source.date}, OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant,
		Config: v1.Config{
			User:       "10001:10001",
			Entrypoint: []string{"/usr/bin/imctl"},
			Cmd:        []string{"serve"},
			WorkingDir: imageData,
			Env: []string{"PATH=/usr/bin", "IMCTL_DATA=" + imageData, "IMCTL_LISTEN=0.0.0.0:8080",
				"IMCTL_OPS_LISTEN=127.0.0.1:8081", "IMCTL_NATS_LISTEN="},
			ExposedPorts: map[string]struct{}{"8080/tcp": {}},
			Volumes:      map[string]struct{}{imageData: {}},
			Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "/usr/bin/imctl", "health"},
				Interval: 30 * time.Second, Timeout: 6 * time.Second, StartPeriod: 30 * time.Second, Retries: 3},
			StopSignal: "SIGTERM",
			Labels: map[string]string{
				"org.opencontainers.image.title":    "imctl",
				"org.opencontainers.image.version":  r.source.number(),
				"org.opencontainers.image.revision": r.source.revision,
				"org.opencontainers.image.created":  r.source.date.Format(time.RFC3339),
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
	}
}

// imageLayer returns the files of an image as a tar archive.
func imageLayer(program []byte, docs []file, date time.Time) ([]byte, error) {
	roots, err := certificateAuthorities()
	if err != nil {
		return nil, err
	}
	files := []file{
		{"etc/passwd", []byte("root:x:0:0:root:/:/sbin/nologin\nimctl:x:10001:10001:imctl:" + imageData + ":/sbin/nologin\n"), 0o644},
		{"etc/group", []byte("root:x:0:\nimctl:x:10001:\n"), 0o644},
		{"etc/ssl/certs/ca-certificates.crt", roots, 0o644},
		{"usr/bin/imctl", program, 0o755},
	}
	for _, f := range docs {
		if f.name == "LICENSE" || f.name == "NOTICE" || f.name == noticesFile {
			f.name = "usr/share/doc/imctl/" + f.name
			files = append(files, f)
		}
	}
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	made := make(map[string]bool)
	folder := func(name string, mode fs.FileMode, owner int) error {
		if made[name] {
			return nil
		}
		made[name] = true
		m := int64(mode.Perm())
		if mode&fs.ModeSticky != 0 {
			m |= 0o1000
		}
		return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: m, Uid: owner, Gid: owner, ModTime: date})
	}
	for _, f := range files {
		parts := strings.Split(path.Dir(f.name), "/")
		for i := range parts {
			if err := folder(strings.Join(parts[:i+1], "/"), 0o755, 0); err != nil {
				return nil, err
			}
		}
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: int64(f.mode), Size: int64(len(f.text)), ModTime: date}); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.text); err != nil {
			return nil, err
		}
	}
	for _, d := range []struct {
		name  string
		mode  fs.FileMode
		owner int
	}{{"tmp", 0o777 | fs.ModeSticky, 0}, {"var", 0o755, 0}, {"var/lib", 0o755, 0}, {imageData[1:], 0o700, imageUser}} {
		if err := folder(d.name, d.mode, d.owner); err != nil {
			return nil, err
		}
	}
	err = t.Close()
	return b.Bytes(), err
}

// certificateAuthorities returns the authorities that Mozilla trusts, in PEM. Those with constraints that a PEM file
// cannot express are left out.
func certificateAuthorities() ([]byte, error) {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// writeImages writes the images of all systems as one archive of an OCI image layout.
func (r *release) writeImages() error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, i := range r.images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: i.Image, Descriptor: v1.Descriptor{Platform: &i.platform}})
	}
	dir := filepath.Join(r.work, "oci")
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	err = l.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": r.source.number()}))
	if err != nil {
		return err
	}
	var files []file
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		files = append(files, file{filepath.ToSlash(rel), text, 0o644})
		return err
	})
	if err != nil {
		return err
	}
	return writeFile(r.name("oci.tar"), func(w io.Writer) error { return writeTar(w, files, r.source.date) })
}
