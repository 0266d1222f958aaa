package main

import (
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/strategy"
)

func TestPrior(t *testing.T) {
	var b strings.Builder
	for u := range 12 {
		for r := range 20 {
			fmt.Fprintf(&b, `{"user":"u%d","dataset":"d%d","family":"f%d","row":"%d","kind":"labels","examples":16,"scope":0.%d,"gold":%d,"features":["blend_mean","tokens"],"x":[[%d,-1],[%d,1]],"scores":{"blend":[%d,%d],"shared":[0,0.1]}}`+"\n",
				u, u/2, u/3, r, 10+u, r%2, 1-r%2, r%2, 1-(r+u)%2, (r+u)%2)
		}
	}
	dir := t.TempDir()
	rows, to := filepath.Join(dir, "rows.jsonl.gz"), filepath.Join(dir, "prior.json")
	f, err := os.Create(rows)
	require.NoError(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write([]byte(b.String()))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, f.Close())
	var out strings.Builder
	require.NoError(t, run([]string{"-out", to, "-leave-out", "f0,f2", "-note", "made", rows}, &out))
	require.Contains(t, out.String(), "120 rows left out\n\n120 rows: made")
	data, err := os.ReadFile(to)
	require.NoError(t, err)
	p, err := strategy.ParsePrior(data)
	require.NoError(t, err)
	require.Equal(t, "made", p.Note)
	require.Len(t, p.Stack["stack"][strategy.Labels], 2)
	require.Contains(t, string(data), `{ "feature": "blend_mean", "mu": `)
	require.Contains(t, string(data), p.Choice.Default)
	require.ErrorContains(t, run([]string{"-examples", "3", rows}, &out), "no rows")
	require.NoError(t, run([]string{"-was", to, rows}, &out))
}

// made writes a fold's rows of two families with two users each.
func made(t *testing.T, path string, families []string, group string) {
	t.Helper()
	var b strings.Builder
	for u := range 2 * len(families) {
		for r := range 12 {
			fmt.Fprintf(&b, `{"user":"%s%d","dataset":"%s","family":"%s","group":"%s","row":"%d","kind":"choices","examples":4,"scope":0.%d,"gold":%d,"features":["shared_shots_mean","tokens"],"x":[[%d,-1],[%d,1]],"scores":{"blend":[%d,%d],"stack":[0,%d]}}`+"\n",
				families[u/2], u, families[u/2], families[u/2], group, r, 10+u, r%2, 1-r%2, r%2, 1-(r+u)%2, (r+u)%2, r%2)
		}
	}
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
}

// A fold's prior does not change with what its own rows say.
func TestFoldsAreLearnedFromTheOthers(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for k := range 3 {
		files = append(files, filepath.Join(dir, fmt.Sprint(k, ".jsonl")))
		made(t, files[k], []string{fmt.Sprint("a", k), fmt.Sprint("b", k)}, "new_datasets")
	}
	var out strings.Builder
	learn := func(to string) {
		require.NoError(t, run(append([]string{"-folds", "-out", filepath.Join(dir, to)}, files...), &out))
	}
	learn("one")
	// The third fold's rows say the opposite.
	data, err := os.ReadFile(files[2])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files[2], []byte(strings.NewReplacer(`"gold":0`, `"gold":1`, `"gold":1`, `"gold":0`).Replace(string(data))), 0o600))
	learn("two")
	for name, same := range map[string]bool{"cross-1": false, "cross-2": false, "cross-3": true, "strict-1": true, "strict-2": true, "strict-3": true, "prior": false} {
		one, err := os.ReadFile(filepath.Join(dir, "one", name+".json"))
		require.NoError(t, err)
		two, err := os.ReadFile(filepath.Join(dir, "two", name+".json"))
		require.NoError(t, err)
		require.Equal(t, same, string(one) == string(two), name)
	}
	require.Contains(t, out.String(), "left-out families of folds 1, 2\n")

	require.ErrorContains(t, run([]string{"-folds", files[0], files[1], files[2]}, &out), "3 files of folds")
	made(t, files[1], []string{"a0", "b1"}, "new_datasets")
	require.ErrorContains(t, run(append([]string{"-folds", "-out", dir}, files...), &out), "family a0 is in folds 1 and 2")
	made(t, files[1], []string{"c"}, "seen")
	require.ErrorContains(t, run(append([]string{"-folds", "-out", dir}, files...), &out), "fold 2 has no row")
}
