package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"crayon/internal/bench"
	"crayon/internal/pooltrain"
)

// The committed table is one, and its variants are recipes.
func TestTable(t *testing.T) {
	all, err := variants("ablations.yaml")
	require.NoError(t, err)
	for _, v := range all {
		text, err := yaml.Marshal(v.Recipe)
		require.NoError(t, err)
		_, err = pooltrain.ParseRecipe(text)
		require.NoError(t, err, v.Name)
	}
	require.Equal(t, "default", all[0].Name)
	require.Empty(t, all[0].Recipe)
	require.Greater(t, len(all), 8)
	for name, text := range map[string]string{"name": "- {name: A B}", "twice": "- {name: a}\n- {name: a}", "key": "- {name: a, recipes: {}}", "none": "[]"} {
		path := filepath.Join(t.TempDir(), "x.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		_, err := variants(path)
		require.Error(t, err, name)
	}
}

// What is there is not made again, and variants are compared row by row with
// the first.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"default", "other", "third"} {
		s := bench.Sheet{User: "u", Dataset: "u", Group: bench.Seen, Shots: 16, Picks: map[string][]int{}}
		for r := range 80 {
			s.IDs, s.Choices, s.Answers = append(s.IDs, fmt.Sprint(r)), append(s.Choices, 2), append(s.Answers, 1)
			pick := 0
			if r < 30+20*i {
				pick = 1
			}
			s.Picks["blend"] = append(s.Picks["blend"], pick)
		}
		sheets := []bench.Sheet{s}
		r := &bench.Report{Digests: map[string]string{"pool": name}}
		r.Settings.Strategies, r.Settings.Resamples = []string{"blend"}, 100
		r.Figures = *bench.Summarise(sheets, 0, 100)
		require.NoError(t, r.Keep(filepath.Join(dir, "raw", name+".gz"), filepath.Join(dir, name+".json"), sheets))
		text, err := json.Marshal(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".json"), text, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".crayon"), nil, 0o644))
	}
	table, recipe := filepath.Join(dir, "table.yaml"), filepath.Join(dir, "recipe")
	require.NoError(t, os.WriteFile(table, []byte("- {name: default}\n- {name: other, recipe: {adapters: 4}}\n- {name: third}\n"), 0o644))
	require.NoError(t, os.WriteFile(recipe, []byte("adapters: 8\nrank: 8\n"), 0o644))
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-crayon", "/nothing/here", "-table", table, "-recipe", recipe, "-out", dir, "-only", "other"}, &out))
	require.Contains(t, out.String(), "| variant | seen, blend |")
	require.Contains(t, out.String(), "| default | 0.375 |")
	require.Contains(t, out.String(), "| other | 0.625, +0.250 [+0.")
	require.NotContains(t, out.String(), "third")
	made, err := os.ReadFile(filepath.Join(dir, "other.yaml"))
	require.NoError(t, err)
	require.Equal(t, "adapters: 4\nrank: 8\n", string(made))
	_, err = os.Stat(filepath.Join(dir, "ablations.table.json"))
	require.NoError(t, err)

	require.NoError(t, os.Remove(filepath.Join(dir, "other.crayon")))
	err = run(t.Context(), []string{"-crayon", "/nothing/here", "-table", table, "-recipe", recipe, "-out", dir}, &out)
	require.ErrorContains(t, err, "pool train")
	require.True(t, strings.Contains(err.Error(), "/nothing/here"), err)
}
