package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

const root = "../.."

var (
	shared  string // directory of the releases that tests share
	ctxTest = context.Background()
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if shared, err = os.MkdirTemp("", "imctl-release-test"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(shared)
		return m.Run()
	}())
}

// testSource returns a source that is always the same.
func testSource(version string) source {
	return source{root: root, version: version, revision: "0123456789abcdef0123456789abcdef01234567",
		date: time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC)}
}

// makeRelease makes a release for this system, and returns its directory.
func makeRelease(version, name string) (string, error) {
	r := &release{source: testSource(version), out: filepath.Join(shared, name), targets: []target{host()},
		maintainer: "The imctl authors <imctl@localhost>"}
	return r.out, r.build(ctxTest)
}

var firstRelease = sync.OnceValues(func() (string, error) { return makeRelease("v1.0.0", "first") })

// secondPackage makes the .deb of the release 1.1.0, and returns its directory.
var secondPackage = sync.OnceValues(func() (string, error) {
	r := &release{source: testSource("v1.1.0"), out: filepath.Join(shared, "second"), work: filepath.Join(shared, "second-work"),
		maintainer: "The imctl authors <imctl@localhost>"}
	for _, dir := range []string{r.out, r.work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
	}
	if err := r.makeDocs(ctxTest); err != nil {
		return "", err
	}
	binary, err := r.binary(ctxTest, host())
	if err != nil {
		return "", err
	}
	return r.out, r.writePackage("deb", host(), binary)
})

// released returns the directory of the release 1.0.0.
func released(t *testing.T) string {
	t.Helper()
	if host().os != "linux" {
		t.Skip("packages are for Linux")
	}
	dir, err := firstRelease()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// require skips the test without the programs, or fails it in CI.
func require(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// said runs a program and returns what it said.
func said(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestReproducible: the same source makes the same bytes in another directory, under another name of the machine's user.
func TestReproducible(t *testing.T) {
	t.Parallel()
	first := released(t)
	second, err := makeRelease("v1.0.0", "again")
	if err != nil {
		t.Fatal(err)
	}
	a, errA := os.ReadFile(filepath.Join(first, sumsFile))
	b, errB := os.ReadFile(filepath.Join(second, sumsFile))
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("checksums differ:\n%s\n%s", a, b)
	}
	var names []string
	for line := range strings.Lines(string(a)) {
		names = append(names, strings.Fields(line)[1])
	}
	h := host()
	debArch := map[string]string{"amd64": "amd64", "arm64": "arm64"}[h.arch]
	rpmArch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[h.arch]
	want := []string{"imctl-1.0.0-" + h.name + ".cdx.json", "imctl-1.0.0-" + h.name + ".tar.gz", "imctl-1.0.0-1." + rpmArch + ".rpm",
		"imctl-1.0.0-oci.tar", "imctl_1.0.0-1_" + debArch + ".deb"}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("files are %q, want %q", names, want)
	}
	out, err := command(t.Context(), first, nil, "sha256sum", "--check", "--strict", sumsFile)
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestOutputExists: a release does not replace another one.
func TestOutputExists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "imctl"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := &release{source: testSource("v1.0.0"), out: dir, targets: allTargets}
	if err := r.build(t.Context()); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("got error %v", err)
	}
}

// TestArchive: the archive has the binary, which says its version, licences, manual pages and completions.
func TestArchive(t *testing.T) {
	t.Parallel()
	files, folder := releasedFiles(t)
	for _, name := range []string{"LICENSE", "NOTICE", "THIRD_PARTY_NOTICES", "CHANGELOG.md", "config.yaml", "man/man1/imctl-serve.1",
		"man/man5/imctl-config.5", "completions/imctl.bash", "completions/imctl.zsh", "completions/imctl.fish", "completions/imctl.powershell"} {
		if len(files[folder+"/"+name]) == 0 {
			t.Errorf("the archive does not have %s", name)
		}
	}
	program := filepath.Join(t.TempDir(), "imctl")
	if err := os.WriteFile(program, files[folder+"/imctl"], 0o755); err != nil {
		t.Fatal(err)
	}
	var version struct {
		Version, Revision, Time string
		Modified                bool
	}
	if err := json.Unmarshal([]byte(said(t, program, "version", "-o", "json")), &version); err != nil {
		t.Fatal(err)
	}
	if s := testSource("v1.0.0"); version.Version != s.version || version.Revision != s.revision || version.Time != "2026-01-02T03:04:05Z" || version.Modified {
		t.Errorf("version is %+v", version)
	}
}

// releasedFiles returns the files of the archive for this system, and the folder that they are in.
func releasedFiles(t *testing.T) (files map[string][]byte, folder string) {
	t.Helper()
	folder = "imctl-1.0.0-" + host().name
	f, err := os.Open(filepath.Join(released(t), folder+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return readTar(t, z), folder
}

// releasedProgram returns the binary of the release.
func releasedProgram(t *testing.T) []byte {
	t.Helper()
	files, folder := releasedFiles(t)
	return files[folder+"/imctl"]
}

// readTar returns the files of a tar archive.
func readTar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSBOM: the bill of materials has the modules of the binary, each with a licence.
func TestSBOM(t *testing.T) {
	t.Parallel()
	f, err := os.Open(filepath.Join(released(t), "imctl-1.0.0-"+host().name+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, c := range *bom.Components {
		found[c.Name] = true
		if c.Licenses == nil || c.Version == "" {
			t.Errorf("%s has version %q and licences %v", c.Name, c.Version, c.Licenses)
		}
	}
	if !found["std"] || !found["github.com/nats-io/nats-server/v2"] || found["github.com/chromedp/chromedp"] {
		t.Errorf("components are %v", found)
	}
	if c := bom.Metadata.Component; c.Version != "v1.0.0" || len(*c.Hashes) != 1 {
		t.Errorf("component is %+v", c)
	}
}

func TestVersionOf(t *testing.T) {
	t.Parallel()
	date := time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		here, before []string
		want         string
	}{
		{nil, nil, "v0.0.0-20260102030405-0123456789ab"},
		{[]string{"v1.2.3"}, []string{"v1.2.3", "v1.2.2"}, "v1.2.3"},
		{[]string{"v1.9.0", "v1.10.0", "latest", "v2"}, nil, "v1.10.0"},
		{nil, []string{"v1.9.0", "v1.10.0", "nightly"}, "v1.10.1-0.20260102030405-0123456789ab"},
		{nil, []string{"v2.0.0-rc.1"}, "v2.0.0-rc.1.0.20260102030405-0123456789ab"},
	} {
		if got := versionOf(c.here, c.before, date, "0123456789abcdef"); got != c.want {
			t.Errorf("tags %q, and before %q: version is %s, want %s", c.here, c.before, got, c.want)
		}
	}
}
