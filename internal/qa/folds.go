package qa

import (
	"fmt"
	"slices"
)

// folds are the families that each of five trainings leaves out. Every data
// set is left out once, with all of its family. Strategies are tuned on the
// first TuneFolds folds; the others are reported.
//
// The tuned part holds every kind of task: many labels, yes or no, science,
// completion. All that was looked at while the strategies and the recipe were
// chosen is in it, clinc150 too, on which the gain is largest: so the reported
// part holds only families whose results decided nothing. Each training keeps
// at least 70 % of the rows.
var folds = [][]string{
	{"clinc150", "science"},
	{"completion", "figqa", "yes-no"},
	{"gsm8k", "trivia"},
	{"comve", "situations"},
	{"commonsense"},
}

// TuneFolds is how many folds, the first ones, strategies may be tuned on.
const TuneFolds = 2

// Folds returns the families that each fold leaves out; folds count from 1.
func Folds() [][]string {
	out := make([][]string, len(folds))
	for i := range folds {
		out[i] = slices.Clone(folds[i])
	}
	return out
}

// FoldOf returns the fold that leaves a data set out, from 1, or 0 for a data
// set that the catalogue lacks.
func FoldOf(dataset string) int {
	family := About(dataset).Family
	return 1 + slices.IndexFunc(folds, func(f []string) bool { return slices.Contains(f, family) })
}

// LeaveOut adds the families of a fold to what the recipe excludes.
func (r *Recipe) LeaveOut(fold int) error {
	if fold < 1 || fold > len(folds) {
		return fmt.Errorf("there is no fold %d, only 1 to %d", fold, len(folds))
	}
	for _, family := range folds[fold-1] {
		if !slices.Contains(r.Exclude.Families, family) {
			r.Exclude.Families = append(slices.Clip(r.Exclude.Families), family)
		}
	}
	return nil
}
