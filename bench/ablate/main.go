// Command ablate trains and scores the variants of a recipe, and makes one table
// of them:
//
//	go run ./bench/ablate -data DIR -recipe recipes/default.yaml -out bin/ablations -train "--device cuda --fold 1" -bench "--groups new_datasets,seen"
//
// What is there already is not made again. bench/ablate/ablations.yaml lists
// the variants.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"crayon/internal/atomicfile"
	"crayon/internal/bench"
	"crayon/internal/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ablate:", err)
		if hint := fault.Hint(err); hint != "" {
			fmt.Fprintln(os.Stderr, "  try:", hint)
		}
		os.Exit(fault.Code(err))
	}
}

// variant is a recipe that differs from another in some keys.
type variant struct {
	Name   string         `yaml:"name"`
	Recipe map[string]any `yaml:"recipe"`
}

// options are the flags.
type options struct {
	crayon, data, recipe, table, out, train, bench, only string
}

func run(ctx context.Context, args []string, w io.Writer) error {
	var o options
	f := flag.NewFlagSet("ablate", flag.ContinueOnError)
	f.StringVar(&o.crayon, "crayon", "bin/crayon", "the program")
	f.StringVar(&o.data, "data", os.Getenv("CRAYON_DATA"), "folder of question-answer data")
	f.StringVar(&o.recipe, "recipe", "recipes/default.yaml", "the recipe that is varied")
	f.StringVar(&o.table, "table", "bench/ablate/ablations.yaml", "the variants")
	f.StringVar(&o.out, "out", "bin/ablations", "folder for pools, reports and the table")
	f.StringVar(&o.train, "train", "", "more flags of pool train, separated by spaces")
	f.StringVar(&o.bench, "bench", "", "more flags of bench customize, separated by spaces")
	f.StringVar(&o.only, "only", "", "only variants whose names match this regular expression, beside the first")
	if err := f.Parse(args); err != nil {
		return err
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return &fault.Error{Op: "read -only", Err: err, Exit: fault.ExitUsage}
	}
	all, err := variants(o.table)
	if err != nil {
		return err
	}
	recipe, err := os.ReadFile(o.recipe)
	if err != nil {
		return err
	}
	var first []bench.Sheet
	var lines []line
	for i, v := range all {
		if i > 0 && !only.MatchString(v.Name) {
			continue
		}
		if err := o.make(ctx, v, recipe); err != nil {
			return err
		}
		report, sheets, err := bench.ReadReport(o.path(v.Name + ".json"))
		if err != nil {
			return err
		}
		if i == 0 {
			first = sheets
		}
		l, err := lineOf(v.Name, report, first, sheets)
		if err != nil {
			return err
		}
		lines = append(lines, l)
	}
	text, err := json.MarshalIndent(lines, "", "  ")
	if err != nil {
		return err
	}
	if err := whole(o.path("ablations.table.json"), append(text, '\n')); err != nil {
		return err
	}
	_, err = io.WriteString(w, markdown(lines))
	return err
}

func (o *options) path(name string) string { return filepath.Join(o.out, name) }

func whole(path string, data []byte) error {
	return atomicfile.Write(path, func(w io.Writer) error { _, err := w.Write(data); return err })
}

// variants reads the table.
func variants(path string) ([]variant, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []variant
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&all); err != nil {
		return nil, &fault.Error{Op: "read variants", Path: path, Err: err, Exit: fault.ExitUsage}
	}
	seen := map[string]bool{}
	for _, v := range all {
		if !regexp.MustCompile(`^[a-z0-9.-]+$`).MatchString(v.Name) || seen[v.Name] {
			return nil, &fault.Error{Op: "read variants", Path: path, Err: fmt.Errorf("the name %q", v.Name), Exit: fault.ExitUsage, Hint: "letters, digits, dots and dashes, each name once"}
		}
		seen[v.Name] = true
	}
	if len(all) == 0 {
		return nil, &fault.Error{Op: "read variants", Path: path, Err: errors.New("none"), Exit: fault.ExitUsage}
	}
	return all, nil
}

// make trains and scores a variant, as far as its files are not there.
func (o *options) make(ctx context.Context, v variant, recipe []byte) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	keys := map[string]any{}
	if err := yaml.Unmarshal(recipe, &keys); err != nil {
		return &fault.Error{Op: "read recipe", Path: o.recipe, Err: err, Exit: fault.ExitUsage}
	}
	maps.Copy(keys, v.Recipe)
	text, err := yaml.Marshal(keys)
	if err != nil {
		return err
	}
	if err := whole(o.path(v.Name+".yaml"), text); err != nil {
		return err
	}
	pool, report := o.path(v.Name+".crayon"), o.path(v.Name+".json")
	if _, err := os.Stat(pool); err != nil {
		args := append([]string{"pool", "train", pool, "--data", o.data, "--recipe", o.path(v.Name + ".yaml")}, strings.Fields(o.train)...)
		if err := o.crayonRun(ctx, args); err != nil {
			return err
		}
	}
	if _, err := os.Stat(report); err != nil {
		args := append([]string{"--pool", pool, "bench", "customize", "--data", o.data, "--out", report, "--raw", filepath.Join(o.out, "raw", v.Name+".jsonl.gz")}, strings.Fields(o.bench)...)
		return o.crayonRun(ctx, args)
	}
	return nil
}

func (o *options) crayonRun(ctx context.Context, args []string) error {
	fmt.Fprintln(os.Stderr, o.crayon, strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, o.crayon, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return &fault.Error{Op: strings.Join(args[:min(3, len(args))], " "), Err: err}
	}
	return nil
}

// line is a variant in the table.
type line struct {
	Name    string                                       `json:"name"`
	Pool    string                                       `json:"pool"` // sha256
	Macro   map[bench.Group]map[string]*bench.Figure     `json:"macro"`
	Against map[string]map[bench.Group]*bench.Difference `json:"against"` // the first variant, by strategy
}

// compared are the strategies whose difference from the first variant is shown.
var compared = []string{"shared", "blend", "chosen"}

// shown are the groups of the table.
var shown = []bench.Group{bench.NewDataset, bench.Seen}

func lineOf(name string, r *bench.Report, first, sheets []bench.Sheet) (line, error) {
	l := line{Name: name, Pool: r.Digests["pool"], Macro: map[bench.Group]map[string]*bench.Figure{}, Against: map[string]map[bench.Group]*bench.Difference{}}
	for _, g := range shown {
		if s := r.Groups[g]; s != nil {
			l.Macro[g] = s.Macro
		}
	}
	for _, s := range compared {
		if r.Macro[s] == nil {
			continue
		}
		d, err := bench.Compare(first, sheets, s, r.Settings.Seed, r.Settings.Resamples)
		if err != nil {
			return l, err
		}
		l.Against[s] = d
	}
	return l, nil
}

// markdown is the table: accuracy, and the difference from the first variant.
func markdown(lines []line) string {
	var b strings.Builder
	head := []string{"variant"}
	for _, g := range shown {
		for _, s := range compared {
			if lines[0].Macro[g][s] != nil {
				head = append(head, fmt.Sprintf("%s, %s", strings.ReplaceAll(string(g), "_", " "), s))
			}
		}
	}
	fmt.Fprintf(&b, "| %s |\n%s|\n", strings.Join(head, " | "), strings.Repeat("|---", len(head)))
	for i, l := range lines {
		row := []string{l.Name}
		for _, g := range shown {
			for _, s := range compared {
				if lines[0].Macro[g][s] == nil {
					continue
				}
				f, d := l.Macro[g][s], l.Against[s][g]
				switch {
				case f == nil || d == nil:
					row = append(row, "")
				case i == 0:
					row = append(row, fmt.Sprintf("%.3f", f.Accuracy))
				default:
					row = append(row, fmt.Sprintf("%.3f, %+.3f [%+.3f, %+.3f]", f.Accuracy, d.Difference, d.Low, d.High))
				}
			}
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String()
}
