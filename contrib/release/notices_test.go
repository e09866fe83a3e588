package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNotices: THIRD_PARTY_NOTICES is that of the modules that the binaries contain, and all licences are allowed.
func TestNotices(t *testing.T) {
	t.Parallel()
	want, err := thirdPartyNotices(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, noticesFile))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale: run make notices", noticesFile)
	}
}

func TestLicenceOf(t *testing.T) {
	t.Parallel()
	const (
		mit  = "MIT License\n\nPermission is hereby granted, free of charge, to any person\nobtaining a copy"
		bsd  = "// Redistribution and use in source and binary\n// forms, with or without"
		bsd3 = bsd + " may not be used to endorse or promote products"
		mpl  = "Mozilla Public License Version 2.0\n=====\n\"Secondary License\" means the GNU General Public License, Version 2.0"
	)
	for name, c := range map[string]struct {
		files legalFiles
		want  string // "" if it is refused
	}{
		"MIT":                  {legalFiles{"LICENSE": mit}, "MIT"},
		"BSD with 2 clauses":   {legalFiles{"COPYING": bsd}, "BSD-2-Clause"},
		"BSD with 3 clauses":   {legalFiles{"LICENSE.txt": bsd3}, "BSD-3-Clause"},
		"Apache":               {legalFiles{"LICENSE": "Apache License\n  Version 2.0", "NOTICE": "By us"}, "Apache-2.0"},
		"Mozilla":              {legalFiles{"LICENSE": mpl}, "MPL-2.0"},
		"two files":            {legalFiles{"LICENSE": bsd3, "zstd/LICENSE": mit}, "BSD-3-Clause AND MIT"},
		"none":                 {legalFiles{"NOTICE": "By us"}, ""},
		"GPL":                  {legalFiles{"LICENSE": "GNU GENERAL PUBLIC LICENSE\nVersion 3"}, ""},
		"MIT or AGPL":          {legalFiles{"LICENSE": mit + " GNU Affero General Public License"}, ""},
		"GPL in a package":     {legalFiles{"LICENSE": mit, "x/COPYING": "GNU LESSER GENERAL PUBLIC LICENSE"}, ""},
		"Apache with a clause": {legalFiles{"LICENSE": "Commons Clause\nApache License Version 2.0"}, ""},
		"own words":            {legalFiles{"LICENSE": "Do what you want"}, ""},
	} {
		got, err := licenceOf(c.files)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: licence is %q, error %v, want %q", name, got, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "%!") {
			t.Error(err)
		}
	}
}
