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
	require.Contains(t, out.String(), "120 rows, 120 left out")
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
