package strategy

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/task"
)

// The score is the log-probability a token under the blend less a share of that
// without the question, up to what all candidates have in common; candidates
// that every row has are asked without the question once, when it is fitted.
func TestPMIIsLessThePrior(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(Kinds).Draw(t, "kind")
		e, own := newFake(), drawTask(t, kind, 3)
		plan, err := blendPMI.Fit(t.Context(), e, own)
		require.NoError(t, err)
		e.asks = nil
		q := own.Rows[0]
		q.Question = "another"
		got, err := plan.Scores(t.Context(), e, own, []Row{q})
		require.NoError(t, err)
		if kind == Choices {
			require.Len(t, e.asks, 2)
		} else {
			require.Len(t, e.asks, 1)
		}
		ask := Ask{Text: task.Text("another", q.Context, own.Labels), Candidates: q.Candidates, Members: Blend(e.p, own)}
		empty := ask
		empty.Text = task.Text("", "", own.Labels)
		s, err := e.Score(t.Context(), []Ask{ask, empty})
		require.NoError(t, err)
		for j := range q.Candidates {
			want := RankScale * (s[0][j].Mean() - s[0][0].Mean() - pmiShare*(s[1][j].Mean()-s[1][0].Mean()))
			require.InDelta(t, want, got[0][j]-got[0][0], 1e-9)
		}
	})
}
