package benchhybrid

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/bench"
	"crayon/internal/fault"
)

// A default calibration learns from users whose family was left out, each query
// once, whatever number of servers was asked.
func TestMeasured(t *testing.T) {
	rows := known(4, 30)
	for i := range rows {
		rows[i].Group = bench.Seen
		if i%2 == 0 {
			rows[i].Group = bench.NewDataset
		}
	}
	other := slices.Clone(rows)
	for i := range other { // right where the first is wrong
		pick := other[i].Answer
		if other[i].right(other[i].Server["letter0"]) == 1 {
			pick = (other[i].Answer + 1) % other[i].Choices
		}
		other[i].Server = map[string]int{"letter0": pick}
	}
	dir := t.TempDir()
	_, first := kept(t, dir, "a", rows, "large", "d")
	_, second := kept(t, dir, "b", other, "larger", "d")
	one, err := Measured([]string{first})
	require.NoError(t, err)
	require.Len(t, one, len(rows)/2)
	for _, r := range one {
		require.NotEmpty(t, r.Group)
		require.Contains(t, []float64{0, 1}, r.Server)
		for _, name := range ofDraft {
			require.True(t, math.IsNaN(r.Signals.Get(name)), name)
		}
	}
	both, err := Measured([]string{first, second})
	require.NoError(t, err)
	require.Len(t, both, len(one))
	var halves int
	for _, r := range both {
		if r.Server == 0.5 {
			halves++
		}
	}
	require.Greater(t, halves, len(both)/2, "the mean of both servers")
	for i := range rows {
		rows[i].Group = bench.Seen
	}
	_, seen := kept(t, dir, "c", rows, "large", "d")
	_, err = Measured([]string{seen})
	require.ErrorContains(t, err, "no user's family was left out")
	require.Equal(t, fault.ExitUsage, fault.Code(err))
}
