package pooltrain

import (
	"math/rand/v2"
	"slices"
	"strings"

	"crayon/internal/qa"
	"crayon/internal/task"
)

// lettered are rows as a server LLM is asked: their choices in the question,
// shuffled by the seed, and letters as the answers. Rows with more choices than
// there are letters are left out.
func lettered(rows []qa.Labelled, seed uint64) []qa.Labelled {
	var out []qa.Labelled
	for i, r := range rows {
		if len(r.Choices) > len(task.Letters) {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		gold, choices := r.Gold(), slices.Clone(r.Choices)
		rng.Shuffle(len(choices), func(a, b int) { choices[a], choices[b] = choices[b], choices[a] })
		r.Question, r.Context = task.Lettered(r.Question, r.Context, choices), ""
		r.Choices, r.Answer, r.Labels = strings.Split(task.Letters[:len(choices)], ""), slices.Index(choices, gold), nil
		out = append(out, r)
	}
	return out
}
