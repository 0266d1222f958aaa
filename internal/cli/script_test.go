package cli

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"crayon/internal/testmodel"
	"crayon/internal/testmodel/tiny"
)

var update = flag.Bool("update", false, "write the expected outputs anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"crayon": func() { os.Exit(Main(Options{})) }})
}

// TestScripts runs the program as a user does, on a tiny random model.
func TestScripts(t *testing.T) {
	model, pool := tiny.Tiny(t)
	scripts(t, "testdata/script", model, "CRAYON_POOL="+pool)
}

// TestScriptsOnTheRealModel needs the model that the embedded pool is for.
func TestScriptsOnTheRealModel(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	scripts(t, "testdata/real", testmodel.Path(t))
}

func scripts(t *testing.T, dir, model string, env ...string) {
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	hub := dataHub(t)
	testscript.Run(t, testscript.Params{
		Dir: dir, UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, env...)
			if err := dataFolder(filepath.Join(e.WorkDir, "data")); err != nil {
				return err
			}
			e.Vars = append(e.Vars, "CRAYON_HOME="+filepath.Join(e.WorkDir, "home"), "CRAYON_MODEL="+model, "CRAYON_THREADS=1", "NO_COLOR=1", "FAKE_HUB="+hub, "EXAMPLES="+examples, "MODEL="+model)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "json": jsonField, "waitfor": waitFor, "listening": listening, "mode": mode},
	})
}

// dataFolder writes two small data sets of the benchmark's form to dir.
func dataFolder(dir string) error {
	for _, set := range []string{"boolq", "figqa"} {
		if err := os.MkdirAll(filepath.Join(dir, set), 0o755); err != nil {
			return err
		}
		for split, rows := range map[string]int{"train": 20, "dev": 90} {
			var text bytes.Buffer
			zw := gzip.NewWriter(&text)
			for i := range rows {
				choices := `"yes","no"`
				if set == "figqa" {
					choices = fmt.Sprintf(`"one %d","two"`, i)
				}
				fmt.Fprintf(zw, `{"dataset":%q,"id":"%s-%d","question":"is %s %d so?","choices":[%s],"answer":%d}`+"\n", set, split, i, split, i, choices, i%2)
			}
			if err := zw.Close(); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, set, split+".jsonl.gz"), text.Bytes(), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// exits CODE PROGRAM ARGS... runs a program and checks its exit status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// json PATH PATTERN checks that standard output is one JSON object and that the
// value at the dotted path (numbers index arrays) matches the pattern as JSON.
func jsonField(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json PATH PATTERN")
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	var v any
	if err := dec.Decode(&v); err != nil {
		ts.Fatalf("standard output is no JSON: %v", err)
	}
	if dec.More() {
		ts.Fatalf("standard output is more than one JSON object")
	}
	if _, ok := v.(map[string]any); !ok {
		ts.Fatalf("standard output is JSON, but no object")
	}
	for _, part := range strings.Split(args[0], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(x) {
				ts.Fatalf("%s: no element %q of %d", args[0], part, len(x))
			}
			v = x[i]
		default:
			ts.Fatalf("%s: nothing at %q", args[0], part)
		}
	}
	text, err := json.Marshal(v)
	ts.Check(err)
	if regexp.MustCompile(args[1]).Match(text) == neg {
		ts.Fatalf("%s is %s; pattern %q, negated %v", args[0], text, args[1], neg)
	}
}

// waitfor FILE waits until a file is there.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	for range 1000 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s did not come", args[0])
}

// listening FILE waits for the FILE that a server says its address in, and sets
// ADDR to it.
func listening(ts *testscript.TestScript, neg bool, args []string) {
	waitFor(ts, neg, args)
	var said struct{ Listening string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &said))
	ts.Setenv("ADDR", said.Listening)
}

// mode WANT FILE checks a file's permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	st, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", st.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}
