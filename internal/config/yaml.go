package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/store"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a settings file, in bytes.
const maxFile = 1 << 20

func fileLayer(path string, rank int) (layer, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return layer{}, nil
	}
	data, err := store.ReadFile(path, maxFile)
	if err != nil {
		return nil, &fault.Error{Op: "read config", Path: path, Err: errors.Unwrap(err), Hint: "check --config and CRAYON_HOME", Exit: fault.ExitUsage}
	}
	return parseFile(path, data, rank)
}

// parseFile reads a settings file: nested or dotted keys, scalars, and lists
// where a setting is a list.
func parseFile(path string, data []byte, rank int) (layer, error) {
	p := &fileParser{path: path, rank: rank, out: layer{}, lines: map[string]int{}}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return p.out, nil
	case err != nil:
		// The library's own words name the line.
		return nil, &fault.Error{Op: "read config", Path: path, Err: errors.New(strings.TrimPrefix(err.Error(), "yaml: ")), Hint: "mend the YAML", Exit: fault.ExitUsage}
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &fault.Error{Op: "read config", Path: path, Err: errors.New("more than one YAML document"), Hint: "leave the --- out", Exit: fault.ExitUsage}
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode && root.Tag != "!!null" {
		p.fail(root, errors.New("want settings of the form key: value"), "crayon config print")
	} else {
		p.mapping(root, "")
	}
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return p.out, nil
}

type fileParser struct {
	path  string
	rank  int
	out   layer
	lines map[string]int // where each key was first set
	errs  []error
}

func (p *fileParser) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", p.path, n.Line) }

func (p *fileParser) fail(n *yaml.Node, err error, hint string) {
	p.errs = append(p.errs, &fault.Error{Op: "read config", Path: p.at(n), Err: err, Hint: hint, Exit: fault.ExitUsage})
}

func (p *fileParser) mapping(m *yaml.Node, prefix string) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, val := m.Content[i], m.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			p.fail(key, errors.New("a key must be a word"), "")
			continue
		}
		name := prefix + key.Value
		if k, ok := keyNamed(name); ok {
			p.set(k, key, val)
			continue
		}
		switch {
		case !isSection(name):
			p.errs = append(p.errs, unknown(p.at(key), "key", name, "", p.nearest(name)))
		case val.Kind == yaml.MappingNode:
			p.mapping(val, name+".")
		case val.Tag == "!!null": // a section with nothing in it
		default:
			p.fail(val, fmt.Errorf("%s is a section, not a value", name), name+": followed by indented settings")
		}
	}
}

func (p *fileParser) nearest(name string) string {
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	if near := store.Nearest(name, names); near != "" {
		return near
	}
	// A setting of a section written without it: url for server.url.
	for _, k := range keys {
		if _, last, ok := strings.Cut(k.Name, "."); ok && last == name {
			return k.Name
		}
	}
	return ""
}

func isSection(name string) bool {
	for _, k := range keys {
		if strings.HasPrefix(k.Name, name+".") {
			return true
		}
	}
	return false
}

func (p *fileParser) set(k Key, key, val *yaml.Node) {
	if line, twice := p.lines[k.Name]; twice {
		p.fail(key, fmt.Errorf("%s is set twice, first on line %d", k.Name, line), "leave one of them out")
		return
	}
	p.lines[k.Name] = key.Line
	raw := ""
	switch {
	case val.Kind == yaml.ScalarNode && val.Tag == "!!null":
		p.fail(val, fmt.Errorf("%s has no value", k.Name), k.Name+": "+k.Help)
		return
	case val.Kind == yaml.ScalarNode:
		raw = val.Value
	case val.Kind == yaml.SequenceNode && k.list:
		parts := make([]string, 0, len(val.Content))
		for _, item := range val.Content {
			if item.Kind != yaml.ScalarNode {
				p.fail(item, fmt.Errorf("%s: want a list of words", k.Name), "")
				return
			}
			value := item.Value
			if item.Tag == "!!null" {
				value = ""
			}
			parts = append(parts, value)
		}
		raw = strings.Join(parts, cmp.Or(k.between, ","))
	default:
		p.fail(val, fmt.Errorf("%s: want one value", k.Name), k.Name+": "+k.Help)
		return
	}
	if err := p.out.put(k, raw, p.at(key), p.rank, filepath.Dir(p.path)); err != nil {
		p.errs = append(p.errs, err)
	}
}
