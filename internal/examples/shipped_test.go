package examples

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agnivade/levenshtein"
	"github.com/stretchr/testify/require"
)

const shipped = "../../examples"

// TestShippedExamples: the files the README names are balanced, of the kind it
// says, and no unseen row is a copy or near-copy of one that is learned from.
func TestShippedExamples(t *testing.T) {
	read := func(path ...string) *Set {
		t.Helper()
		set, err := Read(filepath.Join(append([]string{shipped}, path...)...), Options{})
		require.NoError(t, err)
		require.Zero(t, set.Duplicates)
		return set
	}
	counts := func(s *Set) map[string]int {
		n := map[string]int{}
		for _, e := range s.Examples {
			n[e.Answer]++
		}
		return n
	}
	in := read("unseen", "in-scope.csv")
	out := read("unseen", "out-of-scope.csv")
	require.Len(t, in.Examples, 8)
	require.Len(t, out.Examples, 8)
	all := slices.Concat(in.Examples, out.Examples)
	for name, labels := range map[string]int{"bicycle-repair": 8, "vet-practice": 0, "school-office": 4} {
		seen, unseen := read(name+".csv"), read("unseen", name+".csv")
		require.Len(t, seen.Examples, 16, name)
		require.Len(t, unseen.Examples, 24, name)
		require.Len(t, seen.Labels, labels, name)
		require.Equal(t, seen.Labels, unseen.Labels, name)
		if labels > 0 {
			for _, s := range []*Set{seen, unseen} {
				for answer, n := range counts(s) {
					require.Equal(t, len(s.Examples)/labels, n, answer)
				}
			}
		} else { // the right choice stands at every place about as often
			for _, s := range []*Set{seen, unseen} {
				at := map[int]int{}
				for _, e := range s.Examples {
					require.GreaterOrEqual(t, len(e.Choices), 3)
					require.LessOrEqual(t, len(e.Choices), 4)
					at[slices.Index(e.Choices, e.Answer)]++
				}
				for i := range 3 {
					require.GreaterOrEqual(t, at[i], len(s.Examples)/4, "%s: place %d of %v", name, i, at)
				}
			}
		}
		require.Contains(t, counts(in), name)
		all = slices.Concat(all, seen.Examples, unseen.Examples)
	}
	words := func(s string) map[string]bool {
		w := map[string]bool{}
		for _, f := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !(r >= 'a' && r <= 'z') }) {
			w[f] = true
		}
		return w
	}
	for i, a := range all {
		for _, b := range all[:i] {
			wa, wb := words(a.Question), words(b.Question)
			common := 0
			for w := range maps.Keys(wa) {
				if wb[w] {
					common++
				}
			}
			if share := float64(common) / float64(min(len(wa), len(wb))); share > 0.6 {
				t.Errorf("%.0f %% of the words shared:\n%s\n%s", 100*share, a.Question, b.Question)
			}
			if d := levenshtein.ComputeDistance(a.Question, b.Question); d < 15 {
				t.Errorf("%d edits apart:\n%s\n%s", d, a.Question, b.Question)
			}
		}
	}
}
