// Command summary reads `go test -json` and prints what a person wants to know:
// each package as it ends, whatever failed in full, what was skipped and why,
// and one line of totals. It exits with status 1 when anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is a line of test2json; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

type totals struct {
	packages, failedPackages  int
	passed, failed, skipped   int
	output                    map[string][]string // by package, or package and test, until it ends
	reasons                   []string
	failedTests, failedBuilds []string
}

func main() {
	t, err := read(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
	if !t.print(os.Stdout) {
		os.Exit(1)
	}
}

func read(r io.Reader, w io.Writer) (*totals, error) {
	t := &totals{output: map[string][]string{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text()) // not from a test: show it as it is
			continue
		}
		t.add(e, w)
	}
	return t, lines.Err()
}

func (t *totals) add(e event, w io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "build-fail":
		t.failedBuilds = append(t.failedBuilds, e.ImportPath)
	case "output":
		t.output[key] = append(t.output[key], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.packageEnds(e, w)
		} else {
			t.testEnds(e, w, key)
		}
		delete(t.output, key)
	}
}

func (t *totals) packageEnds(e event, w io.Writer) {
	if e.Action == "skip" { // no test files
		return
	}
	t.packages++
	if e.Action == "fail" {
		t.failedPackages++
		fmt.Fprint(w, strings.Join(t.output[e.Package+" "], ""))
	}
	fmt.Fprintf(w, "%-4s %s  %.1f s\n", e.Action, e.Package, e.Elapsed)
}

func (t *totals) testEnds(e event, w io.Writer, key string) {
	switch e.Action {
	case "pass":
		t.passed++
	case "skip":
		t.skipped++
		t.reasons = append(t.reasons, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(t.output[key])))
	case "fail":
		t.failed++
		t.failedTests = append(t.failedTests, e.Package+" "+e.Test)
		fmt.Fprint(w, strings.Join(t.output[key], ""))
	}
}

// reason is the first line a skipped test said, without its place.
func reason(output []string) string {
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if _, text, ok := strings.Cut(line, ": "); ok {
			return text
		}
		return line
	}
	return "no reason given"
}

// print writes the summary and says whether all is well.
func (t *totals) print(w io.Writer) bool {
	fmt.Fprintln(w)
	for _, r := range t.reasons {
		fmt.Fprintln(w, "skipped:", r)
	}
	for _, f := range t.failedTests {
		fmt.Fprintln(w, "FAILED:", f)
	}
	slices.Sort(t.failedBuilds)
	for _, b := range slices.Compact(t.failedBuilds) {
		fmt.Fprintln(w, "DOES NOT BUILD:", b)
	}
	fmt.Fprintf(w, "%d packages, %d of them failed\n", t.packages, t.failedPackages)
	fmt.Fprintf(w, "tests: %d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	return t.failedPackages == 0 && t.failed == 0 && len(t.failedBuilds) == 0 && t.packages > 0
}
