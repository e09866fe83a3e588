package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// writeSBOM writes the software bill of materials of a binary, in CycloneDX: the modules that are linked into it, and
// the standard library.
func (r *release) writeSBOM(t target, binary string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	sum, err := fileSum(binary)
	if err != nil {
		return err
	}
	bom := cyclonedx.NewBOM()
	// The serial number depends on the contents, so that the same binary has the same document.
	bom.SerialNumber = uuid.NewHash(sha256.New(), uuid.NameSpaceOID, sum, 8).URN()
	main := cyclonedx.Component{
		BOMRef: "imctl", Type: cyclonedx.ComponentTypeApplication, Name: "imctl", Version: r.source.version,
		Hashes:   &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}},
		Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
		Properties: &[]cyclonedx.Property{
			{Name: "imctl:revision", Value: r.source.revision}, {Name: "imctl:platform", Value: t.name},
		},
	}
	bom.Metadata = &cyclonedx.Metadata{Timestamp: r.source.date.Format(time.RFC3339), Component: &main}
	components := []cyclonedx.Component{library("std", strings.TrimPrefix(info.GoVersion, "go"), "BSD-3-Clause")}
	refs := []string{components[0].BOMRef}
	licences, err := moduleLicences(filepath.Join(r.source.root, noticesFile))
	if err != nil {
		return err
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := library(m.Path, m.Version, licences[m.Path])
		components = append(components, c)
		refs = append(refs, c.BOMRef)
	}
	bom.Components = &components
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	return writeFile(r.name(t.name+".cdx.json"), func(w io.Writer) error {
		return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	})
}

// library returns the component of a Go module.
func library(name, version, licence string) cyclonedx.Component {
	url := "pkg:golang/" + name + "@" + version
	c := cyclonedx.Component{BOMRef: url, Type: cyclonedx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: url}
	switch {
	case strings.Contains(licence, " "):
		c.Licenses = &cyclonedx.Licenses{{Expression: licence}}
	case licence != "":
		c.Licenses = &cyclonedx.Licenses{{License: &cyclonedx.License{ID: licence}}}
	}
	return c
}
