package benchhybrid

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/benchengine"
	"crayon/internal/chat"
	"crayon/internal/customize"
	"crayon/internal/examples"
	"crayon/internal/hybrid"
	"crayon/internal/route/signal"
	"crayon/internal/testmodel/tinydevice"
)

// What the benchmark observes of a query is what the product measures of it:
// calibrations learned from the one hold for the other. Questions of the user's
// own task and of others', of label tasks and with choices of their own.
func TestSignalsAreTheProducts(t *testing.T) {
	d := folder(t)
	device := tinydevice.Open(t)
	o := DefaultObserve()
	o.Queries, o.Shots, o.Strategy, o.Folder = 10, 6, "stack", t.TempDir()
	o.Digests = map[string]string{"model": strings.Repeat("a", 64), "pool": device.Pool.Digest()}
	_, _, err := Observe(t.Context(), d, benchengine.New(device).Learning(), o)
	require.NoError(t, err)
	run, err := o.Run()
	require.NoError(t, err)
	parts, err := Parts(t.Context(), o.Folder, run)
	require.NoError(t, err)
	h := &hybrid.Hybrid{Device: device}
	defer h.Close()
	for _, p := range parts {
		set := &examples.Set{Labels: p.Labels, Source: "test"}
		var directions [][]float32
		for _, e := range p.Examples {
			set.Examples = append(set.Examples, examples.Example{Question: e.Question, Context: e.Context, Choices: e.Choices, Answer: e.Choices[e.Answer], Labelled: true})
			directions = append(directions, e.Direction)
		}
		c, err := customize.Make(t.Context(), device, "mine", set, customize.Options{})
		require.NoError(t, err)
		c, err = customize.Improve(t.Context(), device, c, customize.Options{Strategy: "stack"}, nil)
		require.NoError(t, err)
		for i := range p.Queries {
			q := &p.Queries[i]
			query := hybrid.Query{Messages: []chat.Message{{Role: "user", Content: q.Question}}, Custom: c, Context: q.Context, Choices: q.Choices}
			text, decision, err := h.Measure(t.Context(), query)
			require.NoError(t, err)
			at := fmt.Sprintf("%s, query %d, own %v", p.User, i, q.Own)
			require.Equal(t, q.Choices[best(q.Scores[Custom])], text, at)
			want := signal.Measure(p.observation(q, directions, signal.OwnScopes(directions)))
			got := decision.Signals.Values
			require.Len(t, got, len(want), at)
			for k := range want {
				if x, y := want[k], got[k]; math.IsNaN(x) != math.IsNaN(y) || math.Abs(x-y) > 1e-5*max(1, math.Abs(x)) {
					t.Errorf("%s: %s is %g in the benchmark, %g in the product", at, signal.All()[k].Name, x, y)
				}
			}
		}
	}
}

func best(scores []float64) int {
	at := 0
	for j := range scores {
		if scores[j] > scores[at] {
			at = j
		}
	}
	return at
}
