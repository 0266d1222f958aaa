package strategy

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"crayon/internal/pool"
	"crayon/internal/task"
)

var (
	shots5  = shotsOf(5)
	shots16 = shotsOf(16)
)

// MaxShots is how many tokens a prompt with worked examples keeps.
const MaxShots = 1536

func shotsOf(n int) Strategy {
	name := fmt.Sprintf("shots%d", n)
	return Strategy{
		Name: name, About: fmt.Sprintf("the base model, the %d most similar examples in the prompt", n), Nominal: float64(n),
		Fit: func(context.Context, Engine, Task) (*Plan, error) { return fitted(name, Plan{Shots: n}) },
	}
}

// worked are up to n labelled rows of the task most like the direction, the
// nearest last, where a prompt's end counts most.
func worked(t Task, direction []float32, n int) []task.Shot {
	if n == 0 {
		return nil
	}
	rows := t.labelled()
	slices.SortStableFunc(rows, func(a, b int) int {
		return cmp.Or(cmp.Compare(cosine(direction, t.Rows[a].Direction), cosine(direction, t.Rows[b].Direction)), b-a)
	})
	var out []task.Shot
	for _, i := range rows[max(0, len(rows)-n):] {
		r := t.Rows[i]
		out = append(out, task.Shot{Text: task.Text(r.Question, r.Context, t.Labels), Answer: r.Candidates[r.Gold]})
	}
	return out
}

// cosine of unit vectors; 0 where there is none.
func cosine(a, b []float32) float32 {
	if len(a) != len(b) {
		return 0
	}
	return pool.Cosine(a, b)
}
