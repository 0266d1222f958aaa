// Command prior learns internal/strategy/prior.json from raw rows of other
// users' tasks (lines of strategy.Observed, .gz or not), and says what it does
// on families that it was not learned on.
//
//	go run ./bench/prior -out internal/strategy/prior.json bench/results/raw/*.jsonl.gz
//	go run ./bench/prior -leave-out FAMILY,FAMILY -out fold3.json ROWS...
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
	"crayon/internal/fault"
	"crayon/internal/strategy"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "prior:", err)
		os.Exit(fault.Code(err))
	}
}

func run(args []string, out io.Writer) error {
	f := flag.NewFlagSet("prior", flag.ContinueOnError)
	to := f.String("out", "", "write the prior here; nothing: only say what it does")
	leaveOut := f.String("leave-out", "", "families to leave out, `A,B`")
	only := f.Int("examples", -1, "take only users of so many examples; -1 all")
	was := f.String("was", "", "prior whose terms stand where the rows say nothing; nothing: the program's own")
	fallback := f.String("default", "", "strategy that others are measured against; nothing: that of the least loss")
	note := f.String("note", "", "where it is from")
	if err := f.Parse(args); err != nil {
		return err
	}
	before := strategy.DefaultPrior()
	if *was != "" {
		data, err := os.ReadFile(*was)
		if err != nil {
			return err
		}
		if before, err = strategy.ParsePrior(data); err != nil {
			return err
		}
	}
	without := strings.Split(*leaveOut, ",")
	var rows []*strategy.Observed
	left := 0
	for _, path := range f.Args() {
		err := read(path, func(o *strategy.Observed) error {
			if slices.Contains(without, o.Family) || *only >= 0 && o.Examples != *only {
				left++
				return nil
			}
			rows = append(rows, o)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(rows) == 0 {
		return &fault.Error{Op: "learn prior", Err: errors.New("no rows"), Hint: "go run ./bench/prior ROWS.jsonl", Exit: fault.ExitUsage}
	}
	learned, err := strategy.Learn(rows, before, *fallback, *note)
	if err != nil {
		return err
	}
	report(out, learned, len(rows), left)
	if *to == "" {
		return nil
	}
	data, err := compact(learned.Prior)
	if err != nil {
		return err
	}
	return atomicfile.Write(*to, func(w io.Writer) error { _, err := w.Write(data); return err })
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

func report(w io.Writer, l *strategy.Learned, rows, left int) {
	fmt.Fprintf(w, "%d rows, %d left out\n\nstacks at the mean of a prior that was learned without their family, against the blend (macro over data sets)\n", rows, left)
	for _, c := range l.Checks {
		fmt.Fprintf(w, "  %-12s %-8s %4d users %3d data sets   accuracy %.3f, blend %.3f   loss %.3f, blend %.3f\n",
			c.Strategy, c.Kind, c.Users, c.Datasets, c.Accuracy, c.Blend, c.Loss, c.BlendLoss)
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
