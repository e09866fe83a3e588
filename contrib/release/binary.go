package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// target is a system to build for.
type target struct {
	os, arch string
	name     string // in file names
}

var allTargets = []target{
	{"linux", "amd64", "linux-amd64"},
	{"linux", "arm64", "linux-arm64"},
	{"linux", "arm", "linux-armv7"},
	{"darwin", "amd64", "macos-amd64"},
	{"darwin", "arm64", "macos-arm64"},
	{"windows", "amd64", "windows-amd64"},
}

// program returns the name of the binary.
func (t target) program() string {
	if t.os == "windows" {
		return "imctl.exe"
	}
	return "imctl"
}

// environ returns the environment of the go command. The baseline of each architecture is fixed.
func (t target) environ() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch, "GOARM=7", "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-mod=readonly", "GOWORK=off", "GOEXPERIMENT=")
}

// buildBinary builds imctl for t in dir, and returns the file.
func buildBinary(ctx context.Context, s source, t target, dir string) (string, error) {
	file, err := filepath.Abs(filepath.Join(dir, t.name, t.program()))
	if err != nil {
		return "", err
	}
	const variables = "imctl/cmd."
	_, err = command(ctx, s.root, t.environ(), "go", "build", "-trimpath", "-buildvcs=false", "-o", file, "-ldflags",
		"-s -w -buildid="+
			" -X "+variables+"version="+s.version+
			" -X "+variables+"revision="+s.revision+
			" -X "+variables+"date="+s.date.Format(time.RFC3339),
		"./cmd/imctl")
	return file, err
}

// host returns the target that this process runs on, so that its binary is built once.
func host() target {
	for _, t := range allTargets {
		if t.os == runtime.GOOS && t.arch == runtime.GOARCH {
			return t
		}
	}
	return target{runtime.GOOS, runtime.GOARCH, "host"}
}
