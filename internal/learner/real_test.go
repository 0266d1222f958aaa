package learner_test

import (
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/device"
	"crayon/internal/learner"
	"crayon/internal/pool"
	"crayon/internal/qa"
	"crayon/internal/strategy"
	"crayon/internal/strategy/deviceengine"
	"crayon/internal/testmodel"
)

// The real model and pool on 8 questions of a data set that the pool has not
// seen, where CRAYON_DATA names the data folder: learning lowers the examples'
// own loss as the device scores them. It takes half a minute.
func TestLearningOnTheRealModel(t *testing.T) {
	dir := os.Getenv("CRAYON_DATA")
	if dir == "" {
		t.Skip("CRAYON_DATA is not set")
	}
	p, err := pool.Open("../../pool/default.crayon")
	require.NoError(t, err)
	d, err := device.Open(t.Context(), testmodel.Path(t), p, device.Options{})
	require.NoError(t, err)
	defer d.Close()
	data, err := qa.Open(dir)
	require.NoError(t, err)
	all, err := data.All("strategyqa", "dev")
	require.NoError(t, err)
	qa.Shuffle(all, 1)
	var task strategy.Task
	var questions []string
	for _, r := range all[:8] {
		task.Rows = append(task.Rows, strategy.Row{Question: r.Question, Context: r.Context, Candidates: r.Choices, Gold: r.Answer})
		questions = append(questions, r.Question)
	}
	directions, err := d.Directions(t.Context(), questions)
	require.NoError(t, err)
	for i := range task.Rows {
		task.Rows[i].Direction = directions[i]
	}
	l := learner.New(deviceengine.New(d), d, learner.Options{})
	defer l.Free()
	e := strategy.NewMemo(l)
	loss := func(name string) float64 {
		s, err := strategy.Get(name)
		require.NoError(t, err)
		plan, err := s.Fit(t.Context(), e, task)
		require.NoError(t, err)
		scores, err := plan.Scores(t.Context(), e, task, task.Rows)
		require.NoError(t, err)
		var sum float64
		for i, r := range task.Rows {
			sum -= math.Log(strategy.Softmax(scores[i])[r.Gold]) / float64(len(task.Rows))
		}
		t.Logf("%s: loss %.3f: %s", name, sum, plan.Why)
		return sum
	}
	base, blend := loss("base"), loss("blend")
	require.Less(t, loss("refine"), blend+0.1)
	require.Less(t, loss("polish"), blend-0.02)
	require.Less(t, loss("polish_base"), base-0.02)
}
