package benchhybrid

import (
	"errors"
	"math"
	"slices"

	"crayon/internal/bench"
	"crayon/internal/fault"
	"crayon/internal/route/calibrate"
	"crayon/internal/route/signal"
)

// Measured are the rows that a default calibration is learned from: of the files,
// as ReadInputs reads them, those of users whose family their pool had left out.
// The server's outcome is the mean over the files that have the query answered,
// each by its best form, so that no one server's habits are learned. What a free
// draft tells is left out: a live query with choices has none.
func Measured(paths []string) ([]calibrate.Row, error) {
	type key struct{ user, query string }
	at := map[key]int{}
	var out []calibrate.Row
	var answers []float64
	for _, path := range paths {
		rows, _, err := ReadInputs([]string{path}, "")
		if err != nil {
			return nil, err
		}
		f := &Figures{Servers: map[string]*VariantFigure{}}
		for _, r := range f.asked(rows) {
			if r.Group != bench.NewDataset {
				continue
			}
			right := r.right(r.Server[f.Asked])
			k := key{r.User, r.query()}
			i, known := at[k]
			if !known {
				at[k] = len(out)
				out = append(out, calibrate.Row{User: r.User, Group: r.Kin, Signals: undrafted(r.Signals), Device: r.right(r.Picks[Custom]), Server: right})
				answers = append(answers, 1)
				continue
			}
			answers[i]++
			out[i].Server += (right - out[i].Server) / answers[i]
		}
	}
	if len(out) == 0 {
		return nil, &fault.Error{Op: "read routing rows", Path: paths[0], Err: errors.New("no user's family was left out by their pool"), Exit: fault.ExitUsage,
			Hint: "crayon bench hybrid --groups new_datasets --pools FOLDS"}
	}
	return out, nil
}

// ofDraft are the signals of a free draft's tokens.
var ofDraft = []string{"mean_token", "least_token", "mean_logprob", "draft_ended"}

// undrafted is v without the signals of the draft's tokens.
func undrafted(v signal.Values) signal.Values {
	out := slices.Clone(v)
	for _, name := range ofDraft {
		out[signal.Place(name)] = math.NaN()
	}
	return out
}
