package qa

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every data set is left out by exactly one fold, with all of its family.
func TestFolds(t *testing.T) {
	times := map[string]int{}
	for i, families := range Folds() {
		for _, family := range families {
			require.NotEmpty(t, Families()[family], family)
			for _, name := range Families()[family] {
				times[name]++
				require.Equal(t, i+1, FoldOf(name))
			}
		}
	}
	require.Len(t, times, len(catalog))
	for name, n := range times {
		require.Equal(t, 1, n, name)
	}
	require.Zero(t, FoldOf("mine"))
	Folds()[0][0] = "x"
	require.NotEqual(t, "x", Folds()[0][0])
}

// What is tuned on and what is reported both hold each kind of task.
func TestFoldsHoldEachKind(t *testing.T) {
	for kind, sets := range map[string][]string{
		"one label set": {"boolq", "strategyqa", "pubmedqa", "csqa2", "clinc150"},
		"knowledge":     {"arc_easy", "arc_challenge", "openbookqa", "qasc", "mmlu", "opentriviaqa"},
		"commonsense":   {"comve_a", "comve_b", "commonsenseqa", "codah", "hellaswag", "piqa", "social_iqa", "winogrande"},
	} {
		tuned, reported := 0, 0
		for _, name := range sets {
			if FoldOf(name) <= TuneFolds {
				tuned++
			} else {
				reported++
			}
		}
		require.NotZero(t, tuned, kind)
		require.NotZero(t, reported, kind)
	}
}

func TestLeaveOut(t *testing.T) {
	r := Recipe{Exclude: Exclude{Families: []string{"figqa"}}}
	require.NoError(t, r.LeaveOut(2))
	require.Equal(t, []string{"figqa", "completion", "yes-no"}, r.Exclude.Families)
	require.ErrorContains(t, r.LeaveOut(0), "no fold 0")
	require.ErrorContains(t, r.LeaveOut(6), "only 1 to 5")
}
