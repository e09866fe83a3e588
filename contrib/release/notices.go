package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const noticesFile = "THIRD_PARTY_NOTICES"

const noticesIntro = `imctl is licensed under the Apache License, Version 2.0: see LICENSE. Its binary contains the Go modules below, each under
its own licence. The source of each module is at its path: https://proxy.golang.org serves it. The versions are those of
go.mod, and imctl's software bill of materials lists them.

`

// allowedLicences are the licences that modules of the binary may have. All allow to distribute binaries under the Apache
// License. MPL-2.0 also requires to say where the source is, which the introduction does.
var allowedLicences = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0"}

// noticeFile matches the names of files that a distribution has to contain.
var noticeFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([.-].*)?$`)

// legalFiles are the files of one module, by their text. The names are paths in the module.
type legalFiles map[string]string

// thirdPartyNotices returns the licences and notices of all modules that the binaries of the targets contain. It fails if
// a module has no licence, or a licence that is not allowed.
func thirdPartyNotices(ctx context.Context, root string) ([]byte, error) {
	modules, err := linkedModules(ctx, root)
	if err != nil {
		return nil, err
	}
	licences := make(map[string]string)      // of each module
	holders := make(map[string][]string)     // modules and files with this text
	order, problems := []string{}, []error{} // of the texts
	for _, module := range slices.Sorted(maps.Keys(modules)) {
		files := modules[module]
		licence, err := licenceOf(files)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", module, err))
			continue
		}
		licences[module] = licence
		for _, name := range slices.Sorted(maps.Keys(files)) {
			text := files[name]
			if holders[text] == nil {
				order = append(order, text)
			}
			holders[text] = append(holders[text], module+"/"+name)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	var b bytes.Buffer
	b.WriteString(noticesIntro)
	for _, module := range slices.Sorted(maps.Keys(licences)) {
		fmt.Fprintf(&b, "- %s: %s\n", module, licences[module])
	}
	for _, text := range order {
		fmt.Fprintf(&b, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(holders[text], "\n"), text)
	}
	return b.Bytes(), nil
}

// moduleLicences reads the licence of each module from the notices.
func moduleLicences(name string) (map[string]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	licences := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "=====") {
			break
		}
		if module, licence, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "- ")), ": "); ok && strings.HasPrefix(line, "- ") {
			licences[module] = licence
		}
	}
	return licences, nil
}

// linkedModules returns the modules that the binaries contain, std included, with the legal files of the packages that
// they contain.
func linkedModules(ctx context.Context, root string) (map[string]legalFiles, error) {
	goroot, err := command(ctx, root, nil, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	std := make(legalFiles)
	modules := map[string]legalFiles{"std": std}
	if err := std.collect(strings.TrimSpace(string(goroot)), "."); err != nil {
		return nil, err
	}
	const format = "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}\t{{$.Dir}}{{end}}{{end}}"
	for _, t := range allTargets {
		list, err := command(ctx, root, t.environ(), "go", "list", "-deps", "-f", format, "./cmd/imctl")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(list)) {
			fields := strings.Split(strings.TrimSpace(line), "\t")
			if len(fields) != 3 {
				continue
			}
			module, dir := fields[0], fields[1]
			if modules[module] == nil {
				modules[module] = make(legalFiles)
			}
			folder, err := filepath.Rel(dir, fields[2])
			if err != nil {
				return nil, err
			}
			for ; ; folder = filepath.Dir(folder) { // a package may have a licence of its own
				if err := modules[module].collect(dir, folder); err != nil {
					return nil, err
				}
				if folder == "." {
					break
				}
			}
		}
	}
	return modules, nil
}

// collect adds the legal files in a folder of the module at dir.
func (l legalFiles) collect(dir, folder string) error {
	entries, err := os.ReadDir(filepath.Join(dir, folder))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !noticeFile.MatchString(e.Name()) || filepath.Ext(e.Name()) == ".go" {
			continue
		}
		text, err := fs.ReadFile(os.DirFS(dir), filepath.ToSlash(filepath.Join(folder, e.Name())))
		if err != nil {
			return err
		}
		lines := strings.ReplaceAll(string(text), "\r\n", "\n")
		l[filepath.ToSlash(filepath.Join(folder, e.Name()))] = strings.Trim(lines, "\n")
	}
	return nil
}

// licenceOf returns the SPDX expression of the licences of a module.
func licenceOf(files legalFiles) (string, error) {
	found := make(map[string]bool)
	for name, text := range files {
		base := strings.ToLower(filepath.Base(name))
		if strings.HasPrefix(base, "notice") || strings.HasPrefix(base, "patents") {
			continue // they only add to a licence
		}
		ids := identify(text)
		if len(ids) == 0 {
			return "", fmt.Errorf("%s is of no allowed licence: remove the module, or add the licence to contrib/release", name)
		}
		for _, id := range ids {
			found[id] = true
		}
	}
	if len(found) == 0 {
		return "", errors.New("has no licence")
	}
	return strings.Join(slices.Sorted(maps.Keys(found)), " AND "), nil
}

var spaces = regexp.MustCompile(`[\s*>#/]+`)

// identify returns the licences that a text consists of, by sentences that only they have. It returns none if the text
// has the title of another licence.
func identify(text string) (ids []string) {
	text = strings.ToLower(spaces.ReplaceAllString(text, " "))
	has := func(part string) bool { return strings.Contains(text, part) }
	mozilla := has("mozilla public license version 2.0") || has("mozilla public license, version 2.0")
	for _, other := range []string{"gnu general public license", "gnu lesser general public license",
		"gnu affero general public license", "business source license", "server side public license", "commons clause",
		"creative commons", "elastic license"} {
		if has(other) && !mozilla { // which names those that it is compatible with
			return nil
		}
	}
	add := func(found bool, id string) {
		if found && slices.Contains(allowedLicences, id) {
			ids = append(ids, id)
		}
	}
	add(has("apache license") && has("version 2.0"), "Apache-2.0")
	redistribution := has("redistribution and use in source and binary forms")
	endorse := has("used to endorse or promote products")
	add(redistribution && !endorse, "BSD-2-Clause")
	add(redistribution && endorse, "BSD-3-Clause")
	add(has("permission to use, copy, modify, and or distribute this software for any purpose") ||
		has("permission to use, copy, modify, and distribute this software for any purpose"), "ISC")
	add(has("permission is hereby granted, free of charge, to any person obtaining"), "MIT")
	add(mozilla, "MPL-2.0")
	return ids
}
