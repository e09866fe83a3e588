package cmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"imctl/bridge/admin"
)

// The formats of an import.
const (
	formatAuto       = "auto"
	formatIMCTL      = "imctl"
	formatJSONL      = "jsonl"
	formatCSV        = "csv"
	formatMattermost = "mattermost"
	formatXEP0227    = "xep0227"
)

var importFormats = []string{formatAuto, formatIMCTL, formatJSONL, formatCSV, formatMattermost, formatXEP0227}

// place is where a record is in the input.
type place struct {
	file string // "" if the input is a stream
	line int
}

// String returns the place as it is shown: another server has chosen the names of the files.
func (p place) String() string {
	if p.file == "" {
		return fmt.Sprintf("line %d", p.line)
	}
	return fmt.Sprintf("%s:%d", printable(p.file), p.line)
}

// importEntry is a record of the input: a user, a part of a conversation, or the reason why it is none.
type importEntry struct {
	recordLine
	n       int // of the entry in the input, from 1
	at      place
	size    int            // in bytes of the input
	bonds   bool           // the entry has only friendships of a user that another entry has
	err     error          // the entry is invalid
	skipped map[string]int // what the entry has that is not imported
}

// importSource reads entries. It can be read several times.
type importSource struct {
	format string
	host   string // of the users to import, from a server of several hosts; "" for the first one
	most   int    // bytes of the longest entry
	token  int    // bytes of the longest token of XML, 0 for xmlToken
	files  []importFile
}

// importFile is a file of the input. open returns it from its beginning.
type importFile struct {
	name string
	open func() (io.ReadCloser, error)
}

// openImport opens the input of an import. The importer reads it several times, so openImport copies standard input, and a
// file that is not regular, such as a pipe, to a temporary file. The caller must call close.
func openImport(env *Env, args []string, format string) (s *importSource, close func() error, err error) {
	s = &importSource{format: format}
	if len(args) > 0 && args[0] != pipeName {
		path := env.path(args[0])
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			s.files, err = importDirectory(path, args[0])
			if err == nil && s.format == formatAuto {
				s.format = formatXEP0227
			}
			if err == nil && s.format != formatXEP0227 {
				err = directoryError(args[0])
			}
			return s, func() error { return nil }, err
		}
	}
	name, in, err := openImportFile(env, args)
	if err != nil {
		return nil, nil, err
	}
	s.files = []importFile{{name, func() (io.ReadCloser, error) {
		_, err := in.Seek(0, io.SeekStart)
		return io.NopCloser(in), err
	}}}
	if s.format == formatAuto {
		if s.format, err = detectFormat(in); err != nil {
			return nil, nil, errors.Join(err, in.Close())
		}
	}
	return s, in.Close, nil
}

func openImportFile(env *Env, args []string) (name string, in io.ReadSeekCloser, err error) {
	source := env.In
	if len(args) > 0 && args[0] != pipeName {
		name = args[0]
		f, err := openArgument(env.path(name))
		if err != nil {
			return "", nil, err
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return name, f, nil
		}
		defer f.Close()
		source = f
	}
	f, err := spool("imctl-import-*", source)
	if err != nil {
		return "", nil, fmt.Errorf("copy the input to a temporary file: %w", err)
	}
	return name, f, nil
}

// importDirectory returns the XML files of a directory, as an XMPP server exports them.
func importDirectory(path, shown string) ([]importFile, error) {
	entries, err := os.ReadDir(path) // sorted by name
	if err != nil {
		return nil, err
	}
	var files []importFile
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasSuffix(strings.ToLower(e.Name()), ".xml") {
			files = append(files, importFile{filepath.Join(shown, e.Name()), func() (io.ReadCloser, error) { return os.Open(filepath.Join(path, e.Name())) }})
		}
	}
	if len(files) == 0 {
		return nil, &failure{exitUse, fmt.Errorf("%s has no XML files", shown), "name the directory that an XMPP server exported to"}
	}
	return files, nil
}

// byteOrderMark may begin a text in UTF-8.
const byteOrderMark = "\xEF\xBB\xBF"

// detectFormat tells the format of the input from its beginning.
func detectFormat(in io.ReadSeeker) (string, error) {
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	start, err := bufio.NewReaderSize(in, 64<<10).Peek(64 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if bytes.HasPrefix(start, []byte("\xFF\xFE")) || bytes.HasPrefix(start, []byte("\xFE\xFF")) {
		return "", &failure{exitUse, errors.New("the input is in UTF-16"), "save it in UTF-8"}
	}
	start = bytes.TrimSpace(bytes.TrimPrefix(start, []byte(byteOrderMark)))
	switch {
	case bytes.HasPrefix(start, []byte("<")):
		return formatXEP0227, nil
	case bytes.HasPrefix(start, []byte("[")):
		return "", &failure{exitUse, errors.New("the input is an array of JSON"), "write one object on each line"}
	case len(start) == 0 || !bytes.HasPrefix(start, []byte("{")):
		if len(start) > 0 {
			return formatCSV, nil
		}
		return formatJSONL, nil
	}
	var first struct{ Type string }
	if err := json.NewDecoder(bytes.NewReader(start)).Decode(&first); err == nil && first.Type != "" {
		return formatMattermost, nil
	}
	return formatJSONL, nil
}

// importReader reads the entries of one file. It calls yield for each of them, with their lines, and ends with the error of yield.
type importReader func(in *bufio.Reader, s *importSource, yield func(importEntry) error) error

var importReaders = map[string]importReader{
	formatIMCTL: readJSONL, formatJSONL: readJSONL, formatMattermost: readMattermost, formatCSV: readCSV, formatXEP0227: readXEP0227,
}

// each calls do for each entry of the input, until it returns an error.
func (s *importSource) each(ctx context.Context, do func(*importEntry) error) error {
	n := 0
	for _, file := range s.files {
		err := s.readFile(file, func(e importEntry) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			n++
			e.n, e.at.file = n, file.name
			return do(&e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *importSource) readFile(file importFile, yield func(importEntry) error) error {
	in, err := file.open()
	if err != nil {
		return err
	}
	defer in.Close()
	text := bufio.NewReaderSize(in, 64<<10)
	if start, err := text.Peek(len(byteOrderMark)); err == nil && string(start) == byteOrderMark {
		_, _ = text.Discard(len(byteOrderMark)) // it is in the buffer
	}
	return importReaders[s.format](text, s, yield)
}

// invalid returns an invalid entry.
func invalid(line int, format string, args ...any) importEntry {
	return importEntry{at: place{line: line}, err: fmt.Errorf(format, args...)}
}

// friendsByAccount returns the friends with these accounts.
func friendsByAccount(accounts []string) (friends []admin.RecordFriend) {
	for _, a := range accounts {
		if a = strings.TrimSpace(a); a != "" {
			friends = append(friends, admin.RecordFriend{Account: a})
		}
	}
	return friends
}
