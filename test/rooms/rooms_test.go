// Package rooms holds the table of rooms in ARCHITECTURE.md and the source to
// each other.
package rooms

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// free are packages for tests, and programs for those who work on Crayon.
var free = []string{"crayon/internal/testmodel", "crayon/internal/upstream/fake", "crayon/test/", "crayon/bench/"}

// full is the import path of a package as the table writes it.
func full(name string) string {
	if name == "crayon" {
		return name
	}
	if strings.HasPrefix(name, "cmd/") {
		return "crayon/" + name
	}
	return "crayon/internal/" + name
}

// rooms reads the row of each package from ARCHITECTURE.md.
func rooms(t *testing.T) map[string]int {
	data, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(data), "\n## The rooms\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	row := map[string]int{}
	name := regexp.MustCompile("`([^`]+)`")
	n := 0
	for _, line := range strings.Split(section, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[2], "`") {
			continue
		}
		n++
		for _, m := range name.FindAllStringSubmatch(cells[2], -1) {
			require.NotContains(t, row, full(m[1]), "in two rooms")
			row[full(m[1])] = n
		}
	}
	require.Greater(t, n, 5, "the table of rooms was not found")
	return row
}

// source calls f on every Go file that is part of a program, with its package's
// import path.
func source(t *testing.T, f func(pkg, path string, file *ast.File)) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
				return fs.SkipDir // a module of its own
			}
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := "crayon"
		if rel != "." {
			pkg += "/" + filepath.ToSlash(rel)
		}
		f(pkg, path, file)
		return nil
	})
	require.NoError(t, err)
}

func exempt(pkg string) bool {
	for _, prefix := range free {
		if strings.HasPrefix(pkg, prefix) {
			return true
		}
	}
	return false
}

func imports(file *ast.File) (paths []string) {
	for _, i := range file.Imports {
		if path, err := strconv.Unquote(i.Path.Value); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

func TestPackagesImportOnlyWhatIsAbove(t *testing.T) {
	row := rooms(t)
	seen := map[string]bool{}
	source(t, func(pkg, path string, file *ast.File) {
		if exempt(pkg) {
			return
		}
		seen[pkg] = true
		mine, ok := row[pkg]
		if !ok {
			t.Errorf("%s is in no room of ARCHITECTURE.md", pkg)
			return
		}
		for _, other := range imports(file) {
			if other != "crayon" && !strings.HasPrefix(other, "crayon/") {
				continue
			}
			if theirs, ok := row[other]; !ok || theirs > mine {
				t.Errorf("%s imports %s, which is in no room or in one below", path, other)
			}
		}
	})
	for pkg := range row {
		if !seen[pkg] {
			t.Errorf("ARCHITECTURE.md names %s, which is not there", pkg)
		}
	}
}

// dials are the names that open connections, look names up, or start a process.
var dials = map[string]string{
	"net":        `^(Dial|Lookup(Addr|CNAME|Host|IP|MX|NS|SRV|TXT)|Resolve|Resolver|DefaultResolver)`,
	"crypto/tls": `^(Dial|DialWithDialer|Dialer|Client)$`,
	"net/http":   `^(Get|Post|PostForm|Head|Client|Transport|DefaultClient|DefaultTransport)$`,
	"os/exec":    `^(Command|CommandContext|Cmd)$`,
	"os":         `^StartProcess$`,
	"syscall":    `^(Connect|Exec|ForkExec|StartProcess)$`,
}

// dynamic are the packages that may link the C library dynamically, as purego
// does: program crayon is static and holds none of them.
var dynamic = []string{"crayon/internal/cuda", "crayon/internal/train/cuda", "crayon/cmd/crayon-cuda"}

// meeting are the packages by which several processes train together: in
// program crayon-cuda alone.
var meeting = []string{"crayon/internal/rendezvous", "crayon/internal/train/ranks"}

// may are files' exceptions from dials: what they use, and why.
var may = map[string]string{
	"internal/rendezvous/group.go":  "net.Dialer",   // the processes of one training
	"internal/cli/replace_linux.go": "syscall.Exec", // crayon goes on as crayon-cuda
}

func TestOnlyUpstreamDials(t *testing.T) {
	source(t, func(pkg, path string, file *ast.File) {
		if pkg == "crayon/internal/upstream" || exempt(pkg) {
			return
		}
		names := map[string]*regexp.Regexp{}
		for i, p := range imports(file) {
			for _, helper := range free {
				if strings.HasPrefix(p, helper) {
					t.Errorf("%s, part of a program, imports %s, which serves tests", path, p)
				}
			}
			if strings.HasPrefix(p, "github.com/openai/") {
				t.Errorf("%s imports %s, a client: what leaves goes through internal/upstream", path, p)
			}
			if p == "C" || strings.Contains(p, "purego") && !slices.Contains(dynamic, pkg) {
				t.Errorf("%s imports %s", path, p)
			}
			if pattern := dials[p]; pattern != "" {
				name := p[strings.LastIndex(p, "/")+1:]
				if n := file.Imports[i].Name; n != nil {
					name = n.Name
				}
				names[name] = regexp.MustCompile(pattern)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if ok && may[filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))] == x.Name+"."+sel.Sel.Name {
				return true
			}
			if ok && names[x.Name] != nil && names[x.Name].MatchString(sel.Sel.Name) {
				t.Errorf("%s uses %s.%s: what leaves goes through internal/upstream", path, x.Name, sel.Sel.Name)
			}
			return true
		})
	})
}

// What the program must leave to the library: passes, prompts, blends, answers.
var library = []string{"model", "reference", "train", "tokenizer", "chat", "task", "customize", "hybrid", "server"}

func TestProgramHasNoLogic(t *testing.T) {
	source(t, func(pkg, path string, file *ast.File) {
		if pkg != "crayon/internal/cli" {
			return
		}
		for _, p := range imports(file) {
			if name, ok := strings.CutPrefix(p, "crayon/internal/"); ok && slices.Contains(library, name) {
				t.Errorf("%s imports %s: package crayon offers what a command needs", path, p)
			}
		}
	})
}

func TestProgramIsStatic(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "crayon/cmd/crayon")
	list.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build
	out, err := list.Output()
	require.NoError(t, err)
	packages := strings.Fields(string(out))
	require.Contains(t, packages, "crayon/internal/cli")
	for _, p := range packages {
		if strings.Contains(p, "purego") || p == "runtime/cgo" || slices.Contains(dynamic, p) {
			t.Errorf("program crayon holds %s, which links the C library dynamically", p)
		}
		if slices.Contains(meeting, p) {
			t.Errorf("program crayon holds %s, which dials other machines", p)
		}
	}
}
