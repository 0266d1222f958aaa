package pool

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/gguf"
)

func TestCard(t *testing.T) {
	stored, _, err := sample(t).stored(gguf.Q8_0)
	require.NoError(t, err)
	require.Empty(t, stored.Missing())
	var b strings.Builder
	require.NoError(t, stored.WriteCard(&b))
	for _, s := range []string{stored.Digest(), "| CC-BY-4.0 |", "share-alike terms cover b (CC BY-SA 4.0)", "| a | 3 | MIT |", "Q8_0, 0.", "single (rank 3)", "| not for | anything real |", "crayon dev", "seed 18446744073709551615"} {
		require.Contains(t, b.String(), s)
	}
	// A table row is one line whatever its text holds.
	stored.Made.Limits = []string{"a | b\nc"}
	b.Reset()
	require.NoError(t, stored.WriteCard(&b))
	require.Contains(t, b.String(), `a \| b c |`)
}

// A file of before the card has its data in words, and the catalogue's licences.
func TestCardOfAnOldFile(t *testing.T) {
	m := &Provenance{Data: []string{"arc_easy: 650 rows", "social_iqa: 7 rows", "mine"}}
	require.Equal(t, []DataSet{{"arc_easy", 650, "CC BY-SA 4.0"}, {"social_iqa", 7, "AI2 public release, none stated"}, {"mine", 0, "unknown"}}, m.DataSets())
	require.Equal(t, "Of the data, share-alike terms cover arc_easy (CC BY-SA 4.0); no licence is stated for social_iqa (AI2 public release, none stated), mine (unknown).", m.LicenceNote())
	require.Equal(t, "Of the data, permissive terms cover b (Apache-2.0), a, c (MIT).", (&Provenance{Sets: []DataSet{{"a", 1, "MIT"}, {"b", 1, "Apache-2.0"}, {"c", 1, "MIT"}}}).LicenceNote())
	require.Equal(t, "No data are named.", (&Provenance{}).LicenceNote())
	require.Equal(t, "Of the data, attribution is asked for a (CC BY 4.0).", (&Provenance{Sets: []DataSet{{"a", 1, "CC BY 4.0"}}}).LicenceNote())
}

func TestCoverageOf(t *testing.T) {
	got := CoverageOf([][2]string{{"b", ""}, {"a", "x"}, {"a", "y"}, {"a", "x"}}, [][]float32{{1, 0}, {0, 1}, {1, 0}, {0, 1}})
	require.Equal(t, []string{"a", "a/x", "a/y", "b"}, []string{got[0].Name, got[1].Name, got[2].Name, got[3].Name})
	require.Equal(t, []int{3, 2, 1, 1}, []int{got[0].Rows, got[1].Rows, got[2].Rows, got[3].Rows})
	require.InDeltaSlice(t, []float32{0.4472136, 0.8944272}, got[0].Direction, 1e-6)
	require.Equal(t, []float32{0, 0}, MeanDirection([][]float32{{1, 0}, {-1, 0}}))
}
