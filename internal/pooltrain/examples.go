package pooltrain

import (
	"math/rand/v2"
	"slices"

	"crayon/internal/qa"
	"crayon/internal/task"
	"crayon/internal/train"
)

// build encodes one row as the trainer wants it. Label rows list their labels
// (shuffled, sometimes only some of them), as the product does for a label
// task; a share of ordinary rows list their own choices, so that answering from
// a list is learnt from more than the label tasks.
func build(form *task.Form, r *Recipe, row *qa.Labelled, rng *rand.Rand) (train.Example, error) {
	gold := row.Gold()
	wrong := make([]string, 0, len(row.Choices))
	for i, c := range row.Choices {
		if i != row.Answer && c != gold {
			wrong = append(wrong, c)
		}
	}
	rng.Shuffle(len(wrong), func(i, j int) { wrong[i], wrong[j] = wrong[j], wrong[i] })
	var listed []string
	switch {
	case len(row.Labels) > 0:
		if len(wrong) > 3 && rng.Float64() < r.SubsetShare {
			wrong = wrong[:3+rng.IntN(len(wrong)-3)]
		}
		listed = append(slices.Clone(wrong), gold)
	case len(wrong) > 0 && rng.Float64() < r.ListedShare:
		listed = append(slices.Clone(wrong), gold)
	}
	rng.Shuffle(len(listed), func(i, j int) { listed[i], listed[j] = listed[j], listed[i] })
	var ex train.Example
	var err error
	if ex.Prompt, err = form.Prompt(task.Text(row.Question, row.Context, listed)); err != nil {
		return ex, err
	}
	ex.Answers = append(ex.Answers, form.Answer(gold))
	for _, w := range wrong[:min(len(wrong), r.Answers-1)] {
		ex.Answers = append(ex.Answers, form.Answer(w))
	}
	return ex, nil
}
