package main

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// packaged are the files of contrib that packages install.
var packaged = []struct {
	source, name string
	mode         fs.FileMode
	config       bool // an upgrade keeps the administrator's changes
}{
	{"package/config.yaml", "/etc/imctl/config.yaml", 0o640, true},
	{"package/imctl.sysusers", "/usr/lib/sysusers.d/imctl.conf", 0o644, false},
	{"package/imctl.tmpfiles", "/usr/lib/tmpfiles.d/imctl.conf", 0o644, false},
	{"systemd/imctl.service", "/usr/lib/systemd/system/imctl.service", 0o644, false},
	{"systemd/imctl.socket", "/usr/lib/systemd/system/imctl.socket", 0o644, false},
	{"systemd/imctl-backup.service", "/usr/lib/systemd/system/imctl-backup.service", 0o644, false},
	{"systemd/imctl-backup.timer", "/usr/lib/systemd/system/imctl-backup.timer", 0o644, false},
}

// writePackage writes a package for a Linux system: a deb or an rpm.
func (r *release) writePackage(format string, t target, binary string) error {
	contents, err := r.packageContents(t, binary)
	if err != nil {
		return err
	}
	scripts := filepath.Join(r.source.root, "contrib", "package")
	arch := t.arch
	if arch == "arm" {
		arch = "arm7"
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name:            "imctl",
		Arch:            arch,
		Version:         r.source.version,
		Release:         "1",
		Section:         "net",
		Maintainer:      r.maintainer,
		Description:     "instant-messaging server on NATS JetStream\nUsers register, become friends and chat in the web page that it serves, or in\nany client of its small protocol. NATS is part of the binary.",
		Vendor:          "The imctl authors",
		License:         "Apache-2.0",
		MTime:           r.source.date,
		DisableGlobbing: true,
		Overridables: nfpm.Overridables{
			Contents: contents,
			Umask:    0o022,
			Scripts: nfpm.Scripts{
				PostInstall: filepath.Join(scripts, "postinst"),
				PreRemove:   filepath.Join(scripts, "prerm"),
				PostRemove:  filepath.Join(scripts, "postrm"),
			},
			RPM: nfpm.RPM{BuildHost: "localhost", Summary: "Instant-messaging server on NATS JetStream"},
		},
	})
	if format == "deb" {
		info.Depends = []string{"passwd"}
		info.Recommends = []string{"systemd"}
	} else {
		info.Depends = []string{"shadow-utils"}
	}
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		return err
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(r.out, packager.ConventionalFileName(info)), func(w io.Writer) error {
		return packager.Package(info, w)
	})
}

// packageContents returns the files of a package.
func (r *release) packageContents(t target, binary string) (files.Contents, error) {
	contents := files.Contents{content(binary, "/usr/bin/imctl", files.TypeFile, 0o755)}
	for _, f := range packaged {
		kind := files.TypeFile
		if f.config {
			kind = files.TypeConfigNoReplace
		}
		contents = append(contents, content(filepath.Join(r.source.root, "contrib", filepath.FromSlash(f.source)), f.name, kind, f.mode))
	}
	for _, f := range r.docs {
		f, err := installed(f)
		if err != nil {
			return nil, err
		}
		if f.name == "" {
			continue
		}
		source := filepath.Join(r.work, t.name, "package", filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(source, f.text, f.mode); err != nil {
			return nil, err
		}
		contents = append(contents, content(source, f.name, files.TypeFile, f.mode))
	}
	return contents, nil
}

func content(source, name, kind string, mode fs.FileMode) *files.Content {
	return &files.Content{Source: source, Destination: name, Type: kind,
		FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode}}
}
