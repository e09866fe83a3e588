package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	defaultConfigFile = "config.yaml"

	// maxConfigFile limits the size of a configuration file, so that a wrong name does not fill the memory.
	maxConfigFile = 1 << 20
)

// readFile returns the text of the configuration file, "" if no file is named and none exists.
func (l *loader) readFile() ([]byte, error) {
	name, optional := l.fileName()
	path := relativeTo(l.options.Dir, name)
	text, err := readLimited(path, maxConfigFile)
	blank := len(bytes.TrimSpace(text)) == 0
	before := l.options.Before
	wasRead := before != nil && before.File != ""
	switch {
	case errors.Is(err, fs.ErrNotExist) && optional && !exists(path):
		return nil, nil
	case err == nil && blank && wasRead && !before.blank:
		err = errors.New("has become empty; to reload the defaults, write a comment into it")
	case errors.Is(err, fs.ErrPermission) && optional:
		err = fmt.Errorf("%w: run the command as root, or name another file with --config or %s", withoutPath(err), configVariable)
	}
	if err != nil {
		// name, since path may differ from what the caller wrote.
		return nil, Mistakes{{Where: name, Text: withoutPath(err).Error()}}
	}
	l.config.File, l.config.blank = name, blank
	return text, nil
}

// fileName returns the name of the file to read. optional is true if it need not exist. A reload reads the same file as
// the start.
func (l *loader) fileName() (name string, optional bool) {
	if name = l.options.File; name != "" {
		return name, false
	}
	for _, variable := range l.options.Environ {
		if value, ok := strings.CutPrefix(variable, configVariable+"="); ok && value != "" {
			return value, false
		}
	}
	if before := l.options.Before; before != nil && before.File != "" {
		return before.File, false
	}
	if system := l.options.System; system != "" && !exists(relativeTo(l.options.Dir, defaultConfigFile)) && exists(system) {
		return system, true
	}
	return defaultConfigFile, true
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("is too large for a configuration: the limit is %s", Size(limit))
	}
	return text, err
}

// exists reports whether path exists. A dangling symbolic link exists.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// fileDir is the directory that paths in the file are relative to.
func (l *loader) fileDir() string { return relativeTo(l.options.Dir, filepath.Dir(l.config.File)) }

// parseFile applies the text of the file. It walks the syntax tree, since a decoder stops at the first mistake.
func (l *loader) parseFile(text []byte) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if !utf8.Valid(text) || bytes.ContainsFunc(text, isForbidden) {
		l.fileMistake(1, "", "not YAML: not UTF-8 text")
		return
	}
	tokens := lexer.Tokenize(string(text))
	if l.unsupported(tokens) {
		return
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.syntax(err)
		return
	}
	documents := 0
	for _, document := range file.Docs {
		if _, ok := document.Body.(*ast.DirectiveNode); ok {
			continue // %YAML 1.2
		}
		if documents++; documents > 1 {
			l.fileMistake(document.Start.Position.Line, "", "a second document begins here: keep one")
			return
		}
		l.document(document.Body)
	}
}

// isForbidden reports whether YAML does not allow r.
func isForbidden(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\n\r", r) }

func (l *loader) fileMistake(line int, key, text string) { l.mistake(l.fileLine(line), key, text) }

func (l *loader) fileLine(line int) string { return fmt.Sprintf("%s:%d", l.config.File, line) }

// unsupported reports parts of YAML that no configuration needs.
func (l *loader) unsupported(tokens token.Tokens) (found bool) {
	for _, t := range tokens {
		switch t.Type {
		case token.MappingKeyType: // ? [a, b]
			l.fileMistake(t.Position.Line, "", "must be the name of a setting")
		case token.TagType: // the library reads !!str 0123 as "83"
			l.fileMistake(t.Position.Line, "", "tags such as !!str are not supported: put text in quotes")
		default:
			continue
		}
		found = true
	}
	return found
}

// syntax reports an error of the YAML library.
func (l *loader) syntax(err error) {
	line, text := 1, "cannot be read"
	var positioned yaml.Error
	if errors.As(err, &positioned) {
		text = printable(strings.ReplaceAll(positioned.GetMessage(), "\t", `\t`))
		if t := positioned.GetToken(); t != nil {
			line = t.Position.Line
		}
	}
	l.fileMistake(line, "", "not YAML: "+text)
}

func lineOf(node ast.Node) int { return node.GetToken().Position.Line }

func (l *loader) document(body ast.Node) {
	switch body := body.(type) {
	case nil, *ast.NullNode: // nothing but comments
	case *ast.MappingNode:
		anchors := map[string]ast.Node{}
		for _, node := range ast.Filter(ast.AnchorType, body) {
			anchor := node.(*ast.AnchorNode)
			anchors[anchor.Name.GetToken().Value] = anchor.Value
		}
		l.section(body, "", anchors)
	default:
		l.fileMistake(lineOf(body), "", "must contain settings, such as listen: 127.0.0.1:8080")
	}
}

// section applies a mapping whose keys all begin with prefix.
func (l *loader) section(mapping *ast.MappingNode, prefix string, anchors map[string]ast.Node) {
	lines := map[string]int{}
	for _, entry := range mapping.Values {
		name, isScalar := entry.Key.(ast.ScalarNode)
		line := lineOf(entry.Key)
		if !isScalar {
			l.fileMistake(line, "", "must be the name of a setting")
			continue
		}
		key := prefix + name.GetToken().Value
		if first, twice := lines[key]; twice {
			l.fileMistake(line, key, fmt.Sprintf("is set twice, first on line %d", first))
			continue
		}
		lines[key] = line
		value := entry.Value
		switch node := value.(type) {
		case *ast.AnchorNode:
			value = node.Value
		case *ast.AliasNode:
			value = anchors[node.Value.GetToken().Value]
		}
		if value == nil {
			l.fileMistake(line, key, "names an unknown anchor")
			continue
		}
		s, isSetting := l.setting(key)
		section, isMapping := value.(*ast.MappingNode)
		switch {
		case strings.Contains(name.GetToken().Value, "."):
			l.fileMistake(line, key, "unknown key: sections are nested, as in log: {level: info}")
		case isSetting:
			l.accept(s, l.fileLine(lineOf(value)), s.setNode(value))
		case slices.Contains(obsolete, key):
		case !l.isSection(key):
			l.fileMistake(line, key, unknown("key", key, l.keys))
		case isMapping:
			l.section(section, key+".", anchors)
		case value.Type() != ast.NullType: // a section may be all comments
			l.fileMistake(line, key, "is a section: its settings go below it")
		}
	}
}

func (l *loader) isSection(key string) bool {
	return slices.ContainsFunc(l.keys, func(k string) bool { return strings.HasPrefix(k, key+".") })
}
