package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// readImage reads the image of this system from the release.
func readImage(t *testing.T) v1.Image {
	t.Helper()
	f, err := os.Open(filepath.Join(released(t), "imctl-1.0.0-oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for name, text := range readTar(t, f) {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "1.0.0" {
		t.Fatal(manifest, err)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	images, err := index.IndexManifest()
	if err != nil || len(images.Manifests) != 1 || images.Manifests[0].Platform.Architecture != host().arch {
		t.Fatal(images, err)
	}
	img, err := index.Image(images.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestImage unpacks the image, and runs its server and its health check in it as its user.
func TestImage(t *testing.T) {
	t.Parallel()
	img := readImage(t)
	if os.Getuid() != 0 {
		t.Skip("only root can change the root directory")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatal(layers, err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	unpack(t, dir, r)
	roots, err := os.ReadFile(filepath.Join(dir, "etc/ssl/certs/ca-certificates.crt"))
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(roots) || bytes.Count(roots, []byte("BEGIN CERTIFICATE")) < 100 {
		t.Errorf("the image has %d certificate authorities: %v", bytes.Count(roots, []byte("BEGIN CERTIFICATE")), err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := file.Config
	if config.User != "10001:10001" || !slices.Equal(config.Entrypoint, []string{"/usr/bin/imctl"}) || config.Healthcheck == nil {
		t.Fatalf("configuration is %+v", config)
	}
	command := func(args ...string) *exec.Cmd {
		c := exec.Command(args[0], args[1:]...)
		c.Env, c.Dir = config.Env, config.WorkingDir
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: imageUser, Gid: imageUser}, Pdeathsig: syscall.SIGKILL}
		return c
	}
	// Free ports: other servers run on this machine.
	server := command(append(slices.Clone(config.Entrypoint), append(config.Cmd, "--listen", "127.0.0.1:0", "--ops.listen", "127.0.0.1:0")...)...)
	var log bytes.Buffer
	server.Stderr = &log
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM) // fails if it has ended
		if err := server.Wait(); err != nil {
			t.Errorf("the server ended: %v: %s", err, &log)
		}
	})
	ops := readAddress(t, out)
	check := append(slices.Clone(config.Healthcheck.Test[1:]), "--ops.listen", ops)
	if text, err := command(check...).CombinedOutput(); err != nil || string(text) != "ok\n" {
		t.Errorf("%q: %v: %s", check, err, text)
	}
	check[len(check)-1] = "127.0.0.1:1"
	if text, err := command(check...).CombinedOutput(); err == nil {
		t.Errorf("%q of no server succeeds: %s", check, text)
	}
	if info, err := os.Stat(filepath.Join(dir, imageData, "admin.json")); err != nil || info.Sys().(*syscall.Stat_t).Uid != imageUser {
		t.Errorf("the data directory: %v, %v", info, err)
	}
}

// readAddress returns the address of the operations listener that a server prints when it is ready.
func readAddress(t *testing.T, out io.Reader) string {
	t.Helper()
	found := make(chan string, 1)
	address := regexp.MustCompile(`operations\s+http://(127\.0\.0\.1:\d+)/`)
	go func() {
		var said strings.Builder
		buffer := make([]byte, 4096)
		for {
			n, err := out.Read(buffer)
			said.Write(buffer[:n])
			if m := address.FindStringSubmatch(said.String()); m != nil && len(found) == 0 {
				found <- m[1]
			}
			if err != nil {
				close(found)
				return
			}
		}
	}()
	select {
	case a, ok := <-found:
		if !ok {
			t.Fatal("the server ended before it was ready")
		}
		return a
	case <-time.After(time.Minute):
		t.Fatal("the server does not get ready")
		return ""
	}
}

// unpack unpacks a layer, with the owners of its files.
func unpack(t *testing.T, dir string, r io.Reader) {
	t.Helper()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		mode := h.FileInfo().Mode()
		if h.Typeflag == tar.TypeDir {
			err = os.Mkdir(name, 0o700)
		} else {
			var text []byte
			if text, err = io.ReadAll(archive); err == nil {
				err = os.WriteFile(name, text, 0o600)
			}
		}
		if err == nil {
			err = os.Chown(name, h.Uid, h.Gid)
		}
		if err == nil {
			err = os.Chmod(name, mode&(fs.ModePerm|fs.ModeSticky))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestContainerfile: contrib/container/Containerfile makes an image with the same configuration as the release tool.
func TestContainerfile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "contrib", "container", "Containerfile"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := readImage(t).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := file.Config
	quoted := func(list []string) string { return `["` + strings.Join(list, `", "`) + `"]` }
	health := fmt.Sprintf("HEALTHCHECK --interval=%s --timeout=%s --start-period=%s --retries=%d CMD %s", c.Healthcheck.Interval,
		c.Healthcheck.Timeout, c.Healthcheck.StartPeriod, c.Healthcheck.Retries, quoted(c.Healthcheck.Test[1:]))
	for _, line := range []string{"FROM scratch", "USER " + c.User, "WORKDIR " + c.WorkingDir, "ENV " + strings.Join(c.Env, " \\\n    "),
		"EXPOSE 8080/tcp", "VOLUME " + imageData, "STOPSIGNAL " + c.StopSignal, health, "ENTRYPOINT " + quoted(c.Entrypoint), "CMD " + quoted(c.Cmd)} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("the Containerfile does not have %s", line)
		}
	}
}

// TestCompress: compressed files have no time, and so are the same in each build.
func TestCompress(t *testing.T) {
	t.Parallel()
	a, err := compress([]byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(a))
	if err != nil || !z.ModTime.IsZero() || z.Name != "" {
		t.Errorf("header is %+v, error %v", z.Header, err)
	}
}
