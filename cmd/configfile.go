package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxConfigFile bounds what is read as a configuration, so that a wrong name does not fill the memory.
const maxConfigFile = 1 << 20

// fileValue is what a file says of one key, as setting.set takes it.
type fileValue struct {
	raw  any
	line int
}

// configFile reads YAML node by node instead of into a struct: a decoder knows
// no line numbers, and stops at the first mistake.
type configFile struct {
	name     string
	keys     []string
	values   map[string]fileValue
	blank    bool // it is empty, without even a comment
	mistakes Mistakes
}

// readConfigFile opens path and reads what it says of keys. name is how messages call the file.
func readConfigFile(path, name string, keys []string) (*configFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxConfigFile {
		return nil, fmt.Errorf("%s is too large for a configuration", name)
	}
	return parseConfigFile(data, name, keys), nil
}

func parseConfigFile(data []byte, name string, keys []string) *configFile {
	file := &configFile{name: name, keys: keys, values: map[string]fileValue{}, blank: len(bytes.TrimSpace(data)) == 0}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return file // nothing but comments
	case err != nil:
		file.syntax(err)
		return file
	}
	if root := document.Content[0]; root.Kind == yaml.MappingNode {
		file.section(root, "")
	} else if root.ShortTag() != "!!null" {
		file.mistake(root.Line, "", "wants settings, such as listen: 127.0.0.1:8080")
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		file.mistake(second.Line, "", "a second document begins here: keep one")
	} else if !errors.Is(err, io.EOF) {
		file.syntax(err)
	}
	return file
}

func (f *configFile) mistake(line int, key, text string) {
	f.mistakes = append(f.mistakes, Mistake{Where: f.where(line), Key: key, Text: text, line: line})
}

func (f *configFile) where(line int) string { return f.name + ":" + strconv.Itoa(line) }

var (
	yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
	// yamlParserError is what the second stage of the YAML reader says. It counts lines from 0, the
	// first stage from 1.
	yamlParserError = regexp.MustCompile(`^did not find expected (node|key|'|<)`)
)

// syntax tells of an error of the YAML reader, whose words begin with the line where they know it.
func (f *configFile) syntax(err error) {
	line, text := 1, err.Error()
	if m := yamlError.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
			if yamlParserError.MatchString(m[2]) {
				line++
			}
		}
		text = m[2]
	}
	f.mistake(line, "", "not YAML: "+text)
}

// section reads a mapping whose keys all begin with prefix.
func (f *configFile) section(node *yaml.Node, prefix string) {
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if name.Kind != yaml.ScalarNode {
			f.mistake(name.Line, "", "wants the name of a setting")
			continue
		}
		key := prefix + name.Value
		if first, twice := lines[key]; twice {
			f.mistake(name.Line, key, fmt.Sprintf("is here twice, first on line %d", first))
			continue
		}
		lines[key] = name.Line
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		switch {
		case strings.Contains(name.Value, "."):
			f.mistake(name.Line, key, "unknown key: sections are nested, as in log: {level: info}")
		case f.isSetting(key):
			f.values[key] = fileValue{raw: rawValue(value), line: value.Line}
		case !f.isSection(key):
			f.mistake(name.Line, key, unknown("key", key, f.keys))
		case value.Kind == yaml.MappingNode:
			f.section(value, key+".")
		case value.ShortTag() != "!!null": // a section whose settings are all comments
			f.mistake(name.Line, key, "is a section: its settings go below it")
		}
	}
}

func (f *configFile) isSetting(key string) bool {
	for _, k := range f.keys {
		if k == key {
			return true
		}
	}
	return false
}

func (f *configFile) isSection(key string) bool {
	for _, k := range f.keys {
		if strings.HasPrefix(k, key+".") {
			return true
		}
	}
	return false
}

// rawValue returns what a node says, as setting.set takes it. What is no value at all becomes a map, which no setting takes.
func rawValue(node *yaml.Node) any {
	switch node.Kind {
	case yaml.SequenceNode:
		list := make([]any, len(node.Content))
		for i, item := range node.Content {
			list[i] = rawScalar(item)
		}
		return list
	case yaml.ScalarNode:
		return rawScalar(node)
	}
	return map[string]any{}
}

func rawScalar(node *yaml.Node) any {
	if node.Kind != yaml.ScalarNode {
		return map[string]any{}
	}
	var (
		whole int64
		truth bool
	)
	switch node.ShortTag() {
	case "!!null":
		return nil
	case "!!str":
		return node.Value
	case "!!int":
		if node.Decode(&whole) == nil {
			return whole
		}
	case "!!bool":
		if node.Decode(&truth) == nil {
			return truth
		}
	}
	return 0.0 // a fraction, a date, binary: no setting takes any of them
}
