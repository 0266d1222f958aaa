// Command figures writes what the program and its result files say into the
// README and docs, between markers, so that text and figures cannot drift apart:
//
//	<!-- figures: demo -->
//	...
//	<!-- /figures -->
//
// Run `go run ./bench/figures` in the root of the repository; with -check it
// changes nothing and exits with status 3 when a document is stale.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "change nothing; exit with status 3 when a document is stale")
	root := flag.String("root", ".", "the repository's root")
	flag.Parse()
	stale, err := update(*root, *check)
	for _, path := range stale {
		fmt.Println(path)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	case *check && len(stale) > 0:
		fmt.Fprintln(os.Stderr, "figures: these documents are stale\n  try: go run ./bench/figures")
		os.Exit(3)
	}
}

// update brings every document under root up to date, or with check only says
// which are not. It returns their paths.
func update(root string, check bool) (stale []string, err error) {
	paths, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	for _, path := range append([]string{filepath.Join(root, "README.md")}, paths...) {
		old, err := os.ReadFile(path)
		if err != nil {
			return stale, err
		}
		text, err := fill(root, old)
		if err != nil {
			return stale, fmt.Errorf("%s: %w", path, err)
		}
		if bytes.Equal(old, text) {
			continue
		}
		stale = append(stale, path)
		if check {
			continue
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return stale, err
		}
	}
	return stale, nil
}

const closing = "<!-- /figures -->"

var opening = regexp.MustCompile(`(?m)^<!-- figures: ([a-z]+)(?: ([A-Za-z0-9-]+))? -->\n`)

// fill replaces what stands between each pair of markers in a document.
func fill(root string, doc []byte) ([]byte, error) {
	var out bytes.Buffer
	for {
		at := opening.FindSubmatchIndex(doc)
		if at == nil {
			if i := bytes.Index(doc, []byte(closing)); i >= 0 {
				return nil, errors.New("a closing marker without its opening one")
			}
			out.Write(doc)
			return out.Bytes(), nil
		}
		name, arg := string(doc[at[2]:at[3]]), ""
		if at[4] >= 0 {
			arg = string(doc[at[4]:at[5]])
		}
		end := bytes.Index(doc[at[1]:], []byte(closing))
		if end < 0 {
			return nil, fmt.Errorf("marker %q is not closed", name)
		}
		source, ok := sources[name]
		if !ok {
			return nil, fmt.Errorf("no figures are called %q", name)
		}
		text, err := source(root, arg)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", name, arg, err)
		}
		out.Write(doc[:at[1]])
		out.WriteString(strings.TrimRight(text, "\n") + "\n")
		out.WriteString(closing)
		doc = doc[at[1]+end+len(closing):]
	}
}
