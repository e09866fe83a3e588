package kv

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// fileGrace is how old the parts of a file are at least that a sweep removes: older than any upload under way, and than
// any file that a dialogue may still name or is being stored with.
const fileGrace = FileNaming + 10*time.Minute

// clockSkew bounds by how much the clocks of a node and of NATS differ. A dialogue has the time of its node.
const clockSkew = 10 * time.Minute

// FileSweep is what a sweep of files has found.
type FileSweep struct {
	Files   int // that are left
	Removed int // that no dialogue names, or whose upload was interrupted
}

// fileParts are what the stream has of one file.
type fileParts struct {
	data, meta, named bool
	size              int64
}

// Tidy removes files that no dialogue has named in time, parts of uploads that were interrupted, and files of
// conversations that have no dialogues any more. now is the present time. t is nil if no conversations are kept; then it
// removes only interrupted uploads. Several nodes may do so at once.
//
// Errors: only those of NATS and ctx.
func (f *Files) Tidy(ctx context.Context, t *Talks, now time.Time) (s FileSweep, err error) {
	all := make(map[fileKey]fileParts)
	err = f.list(ctx, ">", func(what string, k fileKey) error {
		size := k.size
		k.size = 0
		parts := all[k]
		switch what {
		case fileData:
			parts.data = true
		case fileMeta:
			parts.meta, parts.size = true, size
		case fileNamed:
			parts.named = true
		}
		all[k] = parts
		return nil
	})
	if err != nil {
		return s, err
	}
	unnamed := make(map[Pair][]*File)
	pairs := make(map[Pair][]fileKey)
	for k, parts := range all {
		switch {
		case !parts.meta:
			removed, err := f.tidyParts(ctx, k, parts, now)
			if err != nil {
				return s, err
			}
			if removed {
				s.Removed++
			}
			continue
		case t == nil:
		case !parts.named:
			k.size = parts.size
			file, err := f.Find(ctx, k.id())
			if errors.Is(err, ErrNoFile) { // it was removed meanwhile
				continue
			}
			if err != nil {
				return s, err
			}
			if now.Sub(file.At) > fileGrace {
				unnamed[PairOf(k.from, k.to)] = append(unnamed[PairOf(k.from, k.to)], file)
			}
		default:
			pairs[PairOf(k.from, k.to)] = append(pairs[PairOf(k.from, k.to)], k)
		}
		s.Files++
	}
	removed, err := f.tidyUnnamed(ctx, t, unnamed)
	s.Removed += removed
	s.Files -= removed
	if err == nil && t != nil {
		removed, err = f.tidyPairs(ctx, t, pairs)
		s.Removed += removed
		s.Files -= removed
	}
	if err != nil {
		err = fmt.Errorf("kv: tidy files: %w", err)
	}
	return s, err
}

// tidyParts removes what is left of an upload that was interrupted, or of a removal.
func (f *Files) tidyParts(ctx context.Context, k fileKey, parts fileParts, now time.Time) (removed bool, err error) {
	what := fileData
	if !parts.data {
		what = fileNamed
	}
	e, err := f.b.get(ctx, k.of(what), true) // the newest part
	if errors.Is(err, errKeyNotFound) || err == nil && now.Sub(e.written) <= fileGrace {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.remove(ctx, k)
}

// tidyUnnamed notes which files the dialogues of their conversations name, and removes the others.
func (f *Files) tidyUnnamed(ctx context.Context, t *Talks, unnamed map[Pair][]*File) (removed int, err error) {
	for p, files := range unnamed {
		since := files[0].At
		for _, file := range files {
			if file.At.Before(since) {
				since = file.At
			}
		}
		named, err := t.namedFiles(ctx, p, since.Add(-clockSkew))
		if err != nil {
			return removed, err
		}
		for _, file := range files {
			k, _ := parseFileID(file.ID)
			if !named[file.ID] {
				err = f.remove(ctx, k)
				removed++
			} else if err = f.write(ctx, k.of(fileNamed), nil); Conflicting(err) { // another node has noted it
				err = nil
			}
			if err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}

// namedFiles returns the ids of the files that the dialogues of a conversation name, of those since a time. It looks at
// earlier ones too, of the same record.
func (t *Talks) namedFiles(ctx context.Context, p Pair, since time.Time) (map[string]bool, error) {
	named := make(map[string]bool)
	r, err := t.Last(ctx, p)
	for err == nil && r != nil {
		for i := range r.Dialogues {
			if d := &r.Dialogues[i]; d.File != nil {
				named[FileID(d.File)] = true
			}
		}
		if len(r.Dialogues) > 0 && r.Dialogues[len(r.Dialogues)-1].At.Before(since) {
			break
		}
		r, err = t.Before(ctx, r)
	}
	return named, err
}

// tidyPairs removes the named files of conversations that have no dialogues any more: they were erased, or have been
// dropped to make room.
func (f *Files) tidyPairs(ctx context.Context, t *Talks, pairs map[Pair][]fileKey) (removed int, err error) {
	list := make([]Pair, 0, len(pairs))
	for p := range pairs {
		list = append(list, p)
	}
	heads, err := t.LastOf(ctx, list)
	if err != nil {
		return 0, err
	}
	for _, p := range list {
		if head := heads[p]; head != nil && len(head.Dialogues) > 0 {
			continue
		}
		for _, k := range pairs[p] {
			if err := f.remove(ctx, k); err != nil {
				return removed, err
			}
			removed++
		}
	}
	return removed, nil
}

// RemoveBefore removes all files that were uploaded before a time.
//
// Errors: only those of NATS and ctx.
func (f *Files) RemoveBefore(ctx context.Context, before time.Time) error {
	if _, err := f.b.removeBefore(ctx, before); err != nil {
		return fmt.Errorf("kv: remove files: %w", err)
	}
	return nil
}

// sweepFiles removes files of users that do not exist. With dry it only counts them.
func (f *orphanFinder) sweepFiles(ctx context.Context, files *Files, dry bool) error {
	orphans := make(map[Pair]int) // conversations, with the number of their files
	missing := func(k fileKey) bool { return !f.exists(k.from) || !f.exists(k.to) }
	err := files.list(ctx, ">", func(what string, k fileKey) error {
		if what == fileData && missing(k) {
			orphans[PairOf(k.from, k.to)]++
		}
		return nil
	})
	if err != nil || len(orphans) == 0 {
		return err
	}
	// Check again: a user may have registered meanwhile.
	if err := f.users.barrier(ctx); err != nil {
		return err
	}
	clear(f.lookedUp)
	for p, n := range orphans {
		if err := f.lookUp(ctx, []string{p.A, p.B}); err != nil {
			return err
		}
		if f.exists(p.A) && f.exists(p.B) {
			continue
		}
		if !dry {
			if err := files.RemovePair(ctx, p); err != nil {
				return err
			}
		}
		f.found.Files += n
	}
	return nil
}
