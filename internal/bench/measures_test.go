package bench

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/strategy"
)

// tokenised makes sums of the toy's scores that grow with the candidate, so that the
// measures disagree.
func tokenised(scores [][]strategy.Score) [][]strategy.Score {
	for i := range scores {
		for j := range scores[i] {
			s := &scores[i][j]
			s.Tokens = 1 + j
			s.Sum *= float64(1 + j)
		}
	}
	return scores
}

// The measures are what their names say, of the sums and lengths in the raw
// rows, and take no pass of their own.
func TestMeasures(t *testing.T) {
	o := options()
	o.Strategies = []string{"base", "base_sum", "base_chars", "base_bytes", "single", "single_sum", "blend", "blend_sum", "blend_chars", "blend_bytes"}
	o.Scores = true
	e := newToy()
	e.bad = tokenised
	d := folder(t, place{dataset: "quiz", rows: 140}, place{dataset: "desk", subject: "ü", rows: 140})
	rep, sheets, err := Run(context.Background(), d, e, o)
	require.NoError(t, err)
	require.NoError(t, rep.Verify(sheets))
	var text bytes.Buffer
	require.NoError(t, rep.WriteText(&text))
	require.Contains(t, text.String(), fmt.Sprintf("%.3f ± %.3f", rep.Macro["blend_bytes"].Accuracy, rep.Macro["blend_bytes"].StdErr))
	asked := len(e.calls)
	disagree := 0
	for _, s := range sheets {
		require.Len(t, s.Sums, 3, "base, single, blend: each once")
		for name, by := range map[string]func(i, j int) float64{
			"sum":   func(int, int) float64 { return 1 },
			"chars": func(i, j int) float64 { return float64(s.Lengths.Characters[i][j]) },
			"bytes": func(i, j int) float64 { return float64(s.Lengths.Bytes[i][j]) },
		} {
			for _, of := range []string{"base", "blend"} {
				for i, sums := range s.Sums[of] {
					for j, sum := range sums {
						require.InDelta(t, sum/by(i, j), s.Scores[of+"_"+name][i][j], 2e-4)
					}
					if s.Picks[of+"_"+name][i] != s.Picks[of][i] {
						disagree++
					}
				}
			}
		}
		for i, sums := range s.Sums["base"] {
			for j, sum := range sums {
				require.Equal(t, 1+j, s.Lengths.Tokens[i][j])
				require.InDelta(t, strategy.RankScale*sum/float64(1+j), s.Scores["base"][i][j], 1e-3)
			}
			if s.Dataset == "desk" {
				require.Equal(t, s.Lengths.Characters[i][0]+1, s.Lengths.Bytes[i][0], "ü is two bytes and one character")
			}
		}
	}
	require.Positive(t, disagree)

	o.Scores, o.Strategies = false, []string{"base", "single", "blend"}
	e = newToy()
	e.bad = tokenised
	_, sheets, err = Run(context.Background(), d, e, o)
	require.NoError(t, err)
	require.Equal(t, len(e.calls), asked, "no pass of their own")
	require.Nil(t, sheets[0].Sums)
	require.Nil(t, sheets[0].Lengths)
}

func TestStandardErrors(t *testing.T) {
	o := options()
	rep, sheets, err := Run(context.Background(), town(t), newToy(), o)
	require.NoError(t, err)
	for _, u := range rep.ByUser {
		p := u.Accuracy["blend"]
		require.InDelta(t, math.Sqrt(p*(1-p)/float64(u.Rows-1)), u.StdErr["blend"], 2e-6)
	}
	f := rep.Macro["blend"]
	require.InDelta(t, (f.High-f.Low)/3.92, f.StdErr, 0.4*f.StdErr, "about a quarter of the interval")

	// A report of before the standard errors is none the worse for lacking them;
	// a wrong one is found.
	rep.Macro["blend"].StdErr += 1e-6
	require.ErrorContains(t, rep.Verify(sheets), "macro.blend.stderr")
	for _, f := range rep.Macro {
		f.StdErr = 0
	}
	for _, u := range rep.ByUser {
		u.StdErr = nil
	}
	require.NoError(t, rep.Verify(sheets))
}
