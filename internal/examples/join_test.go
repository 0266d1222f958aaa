package examples

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func rowsOf(t *testing.T, text string) []Example {
	t.Helper()
	return parse(t, "f.csv", text).Examples
}

func TestJoin(t *testing.T) {
	const file = "question,answer\nq1,a\nq2,b\nq3,c\nq4,a\nq5,b\nq6,c\n"
	rows := rowsOf(t, file)
	for i := range rows {
		rows[i].Choices = nil // as a label task is stored
	}
	// A label that comes with a row joins the set, where that was found in the answers.
	got, err := Join("mine", rows, parse(t, "f.csv", "question,answer\nq7,d\nq8,d\n"), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c", "d"}, got.Labels)
	require.True(t, got.Inferred)
	require.Len(t, got.Examples, 8)
	// One that was given stays.
	_, err = Join("mine", rows, parse(t, "f.csv", "question,answer\nq7,d\n"), []string{"a", "b", "c"})
	require.ErrorContains(t, err, `"d" is not one of the labels`)
	got, err = Join("mine", rows, parse(t, "f.csv", "question,answer\nq1,a\nq7,c\n"), []string{"a", "b", "c"})
	require.NoError(t, err)
	require.False(t, got.Inferred)
	require.Equal(t, 1, got.Duplicates)
	require.Len(t, got.Examples, 7)
	// With too few left it is no label task any more.
	got, err = Join("mine", rows[:4], nil, nil)
	require.NoError(t, err)
	require.Nil(t, got.Labels)
	_, err = Join("mine", rows, parse(t, "f.csv", "question,answer\nq1,b\n"), nil)
	require.ErrorContains(t, err, "answers the same question")
	_, err = Join("mine", nil, nil, nil)
	require.ErrorContains(t, err, "no example is left")
}
