// Command prior learns internal/strategy/prior.json from raw rows of other
// users' tasks (lines of strategy.Observed, .gz or not), and says what it does
// on families that it was not learned on.
//
//	go run ./bench/prior -out internal/strategy/prior.json bench/results/raw/*.jsonl.gz
//	go run ./bench/prior -leave-out FAMILY,FAMILY -out fold3.json ROWS...
//	go run ./bench/prior -folds -out DIR FOLD1.jsonl.gz ... FOLD5.jsonl.gz
package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"crayon/internal/atomicfile"
	"crayon/internal/bench"
	"crayon/internal/fault"
	"crayon/internal/strategy"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "prior:", err)
		os.Exit(fault.Code(err))
	}
}

// options are the flags.
type options struct {
	out, fallback, note string
	leaveOut            []string
	examples            int
	was                 *strategy.Prior
}

func run(args []string, out io.Writer) error {
	f := flag.NewFlagSet("prior", flag.ContinueOnError)
	to := f.String("out", "", "write the prior here, of -folds into this folder; nothing: only say what it does")
	folds := f.Bool("folds", false, "the ROWS are of folds 1, 2, ..., a file each: learn a prior for each from the others, and one from all")
	leaveOut := f.String("leave-out", "", "families to leave out, `A,B`")
	only := f.Int("examples", -1, "take only users of so many examples; -1 all")
	was := f.String("was", "", "prior whose terms stand where the rows say nothing; nothing: the program's own")
	fallback := f.String("default", "stack", "strategy that others are measured against, and that is left only for a better one; where no row has it, that of the least loss")
	note := f.String("note", "", "where it is from")
	if err := f.Parse(args); err != nil {
		return err
	}
	o := options{out: *to, fallback: *fallback, note: *note, leaveOut: strings.Split(*leaveOut, ","), examples: *only, was: strategy.DefaultPrior()}
	if *was != "" {
		data, err := os.ReadFile(*was)
		if err != nil {
			return err
		}
		if o.was, err = strategy.ParsePrior(data); err != nil {
			return err
		}
	}
	files := make([][]*strategy.Observed, f.NArg())
	left := 0
	for i, path := range f.Args() {
		err := read(path, func(row *strategy.Observed) error {
			if slices.Contains(o.leaveOut, row.Family) || o.examples >= 0 && row.Examples != o.examples || *folds && row.Group != string(bench.NewDataset) {
				left++
				return nil
			}
			files[i] = append(files[i], row)
			return nil
		})
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d rows left out\n", left)
	if *folds {
		return o.crossFit(files, out)
	}
	return o.learn(slices.Concat(files...), o.out, o.note, out)
}

// learn makes one prior of rows and writes it to a file, "" for none.
func (o *options) learn(rows []*strategy.Observed, to, note string, out io.Writer) error {
	if len(rows) == 0 {
		return &fault.Error{Op: "learn prior", Err: errors.New("no rows"), Hint: "go run ./bench/prior ROWS.jsonl", Exit: fault.ExitUsage}
	}
	learned, err := strategy.Learn(rows, o.was, o.fallback, note)
	if err != nil {
		return err
	}
	report(out, learned, len(rows))
	if to == "" {
		return nil
	}
	data, err := compact(learned.Prior)
	if err != nil {
		return err
	}
	return atomicfile.Write(to, func(w io.Writer) error { _, err := w.Write(data); return err })
}

func read(path string, each func(*strategy.Observed) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return &fault.Error{Op: "read observations", Path: path, Err: err}
		}
		defer z.Close()
		r = z
	}
	return strategy.ReadObserved(path, r, each)
}

func report(w io.Writer, l *strategy.Learned, rows int) {
	fmt.Fprintf(w, "\n%d rows: %s\n\nstacks whose prior was learned without the family, on rows they were not fitted to (accuracy, loss; macro over data sets)\n", rows, l.Prior.Note)
	for _, c := range l.Checks {
		fmt.Fprintf(w, "  %-12s %-8s %4d users %3d data sets   fitted %.3f %.3f   at the mean %.3f %.3f   at the centre %.3f %.3f\n",
			c.Strategy, c.Kind, c.Users, c.Datasets, c.Fitted.Accuracy, c.Fitted.Loss, c.Mean.Accuracy, c.Mean.Loss, c.Centre.Accuracy, c.Centre.Loss)
	}
	fmt.Fprintf(w, "\nchoice: default %s; without labels the blend from a scope of %.3f\n", l.Prior.Choice.Default, l.Prior.Choice.Scope)
	for _, kind := range strategy.Kinds {
		for _, s := range strategy.All() {
			if x, ok := l.Prior.Choice.Kinds[kind][s.Name]; ok {
				fmt.Fprintf(w, "  %-8s %-12s scale %-7.3g advantage %+.3f ± %.3f over users, ± %.3f a row\n", kind, s.Name, x.Scale, x.Mean, x.Spread, x.Noise)
			}
		}
	}
}

// compact is the prior's JSON with one term a line.
func compact(p *strategy.Prior) ([]byte, error) {
	data, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return nil, err
	}
	inner := regexp.MustCompile(`\{[^{}\[\]]*\}`)
	space := regexp.MustCompile(`\s+`)
	data = inner.ReplaceAllFunc(data, func(b []byte) []byte { return space.ReplaceAll(b, []byte(" ")) })
	return append(data, '\n'), nil
}
