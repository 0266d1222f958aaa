package benchengine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/bench"
	"crayon/internal/pool"
	"crayon/internal/qa"
)

// A pool was trained on what it names, in the data here or elsewhere, and on
// nothing else of the data here.
func TestProvenance(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"one", "two", "three"} {
		path := filepath.Join(dir, name+".jsonl")
		require.NoError(t, os.WriteFile(path, []byte("{\"question\":\"a?\",\"choices\":[\"b\",\"x\"],\"answer\":0,\"subject\":\"s\",\"id\":1}\n{\"question\":\"c?\",\"choices\":[\"d\",\"x\"],\"answer\":0,\"subject\":\"left\",\"id\":2}\n"), 0o600))
		files = append(files, path)
	}
	d, err := qa.Load(t.Context(), files, nil, nil)
	require.NoError(t, err)
	recipe := "rows: {caps: {datasets: {far: 3, one: 5}}, exclude: {datasets: [gone], subjects: [one/left]}}\n"
	p := &pool.Pool{Made: pool.Provenance{Recipe: recipe, Sets: []pool.DataSet{{Name: "one", Rows: 1}, {Name: "far", Rows: 3}}}}
	got, err := Provenance(t.Context(), d, p)
	require.NoError(t, err)
	require.Equal(t, bench.Provenance{"one": {"s"}, "far": nil}, got.Provenance)
	require.Len(t, got.Rows.Groups, 1, "of two, three and what is left out none")
	require.Equal(t, "a?", got.Rows.Groups[0].Rows[0].Question)
	require.Equal(t, []string{"the pool was trained on far, which is not here"}, got.Untold)
	p.Made.Sets[0].Rows = 2
	got, err = Provenance(t.Context(), d, p)
	require.NoError(t, err)
	require.Contains(t, got.Untold[0], "trained on 2 rows of one, its recipe picks 1 here")

	p.Made.Recipe = "topics: 0.5\n" + recipe
	got, err = Provenance(t.Context(), d, p)
	require.NoError(t, err)
	require.Len(t, got.Untold, 1, "with topics a row may be trained on twice")
	p.Made.Recipe = recipe

	p.Made.Sets = p.Made.Sets[1:]
	got, err = Provenance(t.Context(), d, p)
	require.NoError(t, err)
	require.Equal(t, bench.Provenance{"far": nil}, got.Provenance)
	require.Nil(t, got.Rows)
}
