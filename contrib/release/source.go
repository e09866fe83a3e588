package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// source is the commit that is released.
type source struct {
	root     string
	version  string    // tag, such as v1.2.3, or the pseudo-version of a commit without a tag
	revision string    // commit
	date     time.Time // of the commit
}

// number returns the version without the v.
func (s source) number() string { return strings.TrimPrefix(s.version, "v") }

// readSource describes the commit that is checked out at root. It refuses uncommitted changes unless dirty is set.
func readSource(ctx context.Context, root string, dirty bool) (source, error) {
	s := source{root: root}
	changes, err := git(ctx, root, "status", "--porcelain")
	if err != nil {
		return s, err
	}
	if changes != "" && !dirty {
		return s, errors.New("the source has uncommitted changes: commit them, or use -dirty for a trial")
	}
	head, err := git(ctx, root, "log", "-1", "--format=%H %ct")
	if err != nil {
		return s, err
	}
	revision, seconds, _ := strings.Cut(head, " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return s, fmt.Errorf("time of the commit: %w", err)
	}
	s.revision, s.date = revision, time.Unix(unix, 0).UTC()
	here, err := git(ctx, root, "tag", "--points-at", "HEAD")
	if err != nil {
		return s, err
	}
	merged, err := git(ctx, root, "tag", "--merged", "HEAD")
	if err != nil {
		return s, err
	}
	s.version = versionOf(strings.Fields(here), strings.Fields(merged), s.date, s.revision)
	if changes != "" {
		s.version += "+dirty"
	}
	return s, nil
}

// versionOf returns the version of a commit: the highest version tag on it, or the pseudo-version after the highest one
// before it, as the go command names it.
func versionOf(here, before []string, date time.Time, revision string) string {
	if tag := highest(here); tag != "" {
		return tag
	}
	older := highest(before)
	major := "v0"
	if older != "" {
		major = semver.Major(older)
	}
	return module.PseudoVersion(major, older, date, revision[:12])
}

// highest returns the highest of the tags that are versions, "" for none.
func highest(tags []string) (best string) {
	for _, tag := range tags {
		if semver.IsValid(tag) && semver.Canonical(tag) == tag && semver.Compare(tag, best) > 0 {
			best = tag
		}
	}
	return best
}

func git(ctx context.Context, root string, args ...string) (string, error) {
	out, err := command(ctx, root, nil, "git", args...)
	return strings.TrimSpace(string(out)), err
}

// command runs a program in dir, and returns its standard output. Its error contains what the program said.
func command(ctx context.Context, dir string, environ []string, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = dir, environ
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return out.Bytes(), nil
}
