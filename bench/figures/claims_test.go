package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/bench"
)

// On the label tasks that the default pool has seen, a user's own weights do
// better than another user's: the interval, over users and rows, is above 0.
func TestOwnWeightsBeatSwappedOnSeenLabelTasks(t *testing.T) {
	r, sheets, err := bench.ReadReport("../results/customize.json")
	require.NoError(t, err)
	require.NoError(t, r.Verify(sheets))
	labels := slices.DeleteFunc(sheets, func(s bench.Sheet) bool { return s.Dataset != "clinc150" || s.Group != bench.Seen })
	require.Len(t, labels, 8, "the domains of clinc150, 15 labels each")
	f := bench.Summarise(labels, r.Settings.Seed, r.Settings.Resamples)
	d := f.Differences["blend-swapped"]
	t.Logf("blend minus swapped: %+.3f [%+.3f, %+.3f]", d.Difference, d.Low, d.High)
	require.Positive(t, d.Low)
}
