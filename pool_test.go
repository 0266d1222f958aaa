package crayon

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/device"
	"crayon/internal/qa"
	"crayon/internal/testmodel"
)

// Bounds of the committed pool. Adapters trained apart from each other have
// cosines of a few hundredths; two that did the same would be near 1.
const (
	mostPoolBytes  = 20 << 20
	mostRedundancy = 0.3
	leastEffective = 0.8 // of the number of blended adapters
	leastMoved     = 0.1 // of a blend, relative, by the removal of one adapter
	leastProbed    = 0.05
)

func defaultOf(t *testing.T) *Pool {
	p, err := OpenPool("")
	require.NoError(t, err)
	return p
}

// Every adapter of the committed pool is alive, unlike the others, and takes
// something with it when it is removed.
func TestDefaultPoolIsHealthy(t *testing.T) {
	p := defaultOf(t)
	require.LessOrEqual(t, p.Size(), mostPoolBytes)
	h, err := p.Health()
	require.NoError(t, err)
	require.Empty(t, h.Dead)
	require.Less(t, h.Redundancy, mostRedundancy, "%s and %s", h.Alike[0], h.Alike[1])
	require.Greater(t, h.Effective, leastEffective*float64(h.Blended))
	for _, m := range h.Members {
		require.Greater(t, m.EffectiveRank, float64(m.Rank)/3, "%s hardly uses its rank", m.Name)
	}
	n := len(p.Blended())
	all := make([]float32, n)
	for i := range all {
		all[i] = 1 / float32(n)
	}
	for i, m := range p.Blended() {
		less := append([]float32{}, all...)
		less[i] = 0
		require.Greater(t, p.Distance(all, less), leastMoved/float64(n), "%s could go unnoticed", p.Members[m].Name)
	}
}

// Its card names every data set with its licence and what they ask. What files
// of before the card lack is let pass for those alone.
func TestDefaultPoolHasItsCard(t *testing.T) {
	p := defaultOf(t)
	if len(p.Made.Sets) > 0 {
		require.Empty(t, p.Missing())
	}
	var card strings.Builder
	require.NoError(t, p.WriteCard(&card))
	require.NotEmpty(t, p.Made.DataSets())
	note := p.Made.LicenceNote()
	for _, s := range p.Made.DataSets() {
		require.Equal(t, qa.About(s.Name).Licence, s.Licence)
		require.Positive(t, s.Rows, s.Name)
		require.Contains(t, card.String(), "| "+s.Name+" |")
		require.Contains(t, note, s.Name)
		require.Contains(t, note, "("+s.Licence+")", "the licence line names %s's", s.Name)
	}
	require.NotEmpty(t, p.Made.Licence)
	require.Contains(t, card.String(), "| licence of the pool | "+p.Made.Licence+" |")
}

// On the model itself: each adapter alone moves a probe's logits, and so does
// its removal from the uniform blend.
func TestDefaultPoolsAdaptersDoSomething(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	p := defaultOf(t)
	d, err := device.Open(t.Context(), testmodel.Path(t), p, device.Options{})
	require.NoError(t, err)
	defer d.Close()
	effect := func(w []float32) float64 {
		e, err := d.Effect(t.Context(), d.Row(w))
		require.NoError(t, err)
		return e
	}
	for i, m := range p.Members {
		w := make([]float32, len(p.Members))
		w[i] = 1
		require.Greater(t, effect(w), leastProbed, "%s does nothing", m.Name)
	}
	n := len(p.Blended())
	all := make([]float32, n)
	for i := range all {
		all[i] = 1 / float32(n)
	}
	whole := effect(p.All(all, 1))
	for i, m := range p.Blended() {
		less := append([]float32{}, all...)
		less[i] = 0
		require.NotEqual(t, whole, effect(p.All(less, 1)), "without %s", p.Members[m].Name)
	}
}
