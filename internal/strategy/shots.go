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

	sharedShots = Strategy{
		Name: "shared_shots", About: "the shared adapter, the 4 most similar examples in the prompt", Nominal: 5,
		Fit: func(_ context.Context, e Engine, _ Task) (*Plan, error) {
			return fitted("shared_shots", Plan{Members: sharedAlone(e.Pool()), Shots: trainedShots})
		},
	}
	blendShots = Strategy{
		Name: "blend_shots", About: "the blend, the 4 most similar examples in the prompt", Nominal: 5,
		Fit: func(_ context.Context, e Engine, t Task) (*Plan, error) {
			return fitted("blend_shots", Plan{Members: Blend(e.Pool(), t), Shots: trainedShots})
		},
	}
)

// shotsMix shows every example, no more at a time than the pool is trained to
// read: what each four lend the question is averaged.
var shotsMix = Strategy{
	Name: "shots_mix", About: "the shared adapter, the 16 most similar examples in the prompt 4 at a time: the mean of the probabilities", Nominal: 20, Chooses: true,
	Fit: func(_ context.Context, e Engine, t Task) (*Plan, error) {
		members := sharedAlone(e.Pool())
		p := Plan{Members: members}
		for after := 0; after == 0 || after < min(len(t.labelled()), mixedShots); after += trainedShots {
			p.Parts = append(p.Parts, Part{Share: 1, Plan: &Plan{Strategy: "shared_shots", Members: members, Shots: trainedShots, After: after}})
		}
		return fitted("shots_mix", p)
	},
}

// mixedShots is how many examples shots_mix reads at most.
const mixedShots = 16

// trainedShots is how many worked examples a pool is trained to read at most.
const trainedShots = 4

func shotsOf(n int) Strategy {
	name := fmt.Sprintf("shots%d", n)
	return Strategy{
		Name: name, About: fmt.Sprintf("the base model, the %d most similar examples in the prompt", n), Nominal: float64(n),
		Fit: func(context.Context, Engine, Task) (*Plan, error) { return fitted(name, Plan{Shots: n}) },
	}
}

// worked are up to n labelled rows of the task most like the direction but for
// the `after` that are nearer, the nearest last, where a prompt's end counts most. Labels are listed at the
// question alone, as in training.
func worked(t Task, direction []float32, n, after int) []task.Shot {
	if n == 0 {
		return nil
	}
	rows := t.labelled()
	like := make([]float32, len(t.Rows))
	for _, i := range rows {
		like[i] = cosine(direction, t.Rows[i].Direction)
	}
	slices.SortStableFunc(rows, func(a, b int) int { return cmp.Or(cmp.Compare(like[a], like[b]), b-a) })
	rows = rows[:max(0, len(rows)-after)]
	var out []task.Shot
	for _, i := range rows[max(0, len(rows)-n):] {
		r := t.Rows[i]
		out = append(out, task.Shot{Text: task.Text(r.Question, r.Context, nil), Answer: r.Candidates[r.Gold]})
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
