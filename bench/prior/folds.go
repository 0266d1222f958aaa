package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/qa"
	"crayon/internal/strategy"
)

// crossFit learns a prior for each fold from all others (cross-K.json), one for
// each from the folds tuned on alone (strict-K.json), and one from all that is
// shipped (prior.json). files are the folds' rows, of families left out.
func (o *options) crossFit(files [][]*strategy.Observed, out io.Writer) error {
	fail := func(format string, args ...any) error {
		return &fault.Error{Op: "learn priors of folds", Err: fmt.Errorf(format, args...), Exit: fault.ExitUsage,
			Hint: "go run ./bench/prior -folds -out DIR FOLD1.jsonl.gz ... FOLD5.jsonl.gz"}
	}
	if o.out == "" || len(files) <= qa.TuneFolds {
		return fail("%d files of folds, into %q", len(files), o.out)
	}
	fold := map[string]int{}
	for i, rows := range files {
		if len(rows) == 0 {
			return fail("fold %d has no row of a family left out", i+1)
		}
		for _, r := range rows {
			if was, ok := fold[r.Family]; ok && was != i+1 {
				return fail("family %s is in folds %d and %d", r.Family, was, i+1)
			}
			fold[r.Family] = i + 1
		}
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	all := make([]int, len(files))
	for i := range all {
		all[i] = i + 1
	}
	one := func(name string, from []int) error {
		var rows []*strategy.Observed
		var names []string
		for _, k := range from {
			rows, names = append(rows, files[k-1]...), append(names, fmt.Sprint(k))
		}
		note := strings.TrimSpace("left-out families of folds " + strings.Join(names, ", ") + " " + o.note)
		return o.learn(rows, filepath.Join(o.out, name+".json"), note, out)
	}
	but := func(from []int, k int) []int {
		return slices.DeleteFunc(slices.Clone(from), func(f int) bool { return f == k })
	}
	var faults []error
	for _, k := range all {
		faults = append(faults, one(fmt.Sprint("cross-", k), but(all, k)), one(fmt.Sprint("strict-", k), but(all[:qa.TuneFolds], k)))
	}
	return errors.Join(append(faults, one("prior", all))...)
}
