package pooltrain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
)

func TestParseRecipe(t *testing.T) {
	r, err := ParseRecipe([]byte("name: mine\nadapters: 3\nrank: 2\nkeep: 2\nlargest_weight: 0.5\nstore: Q4_0\nrows:\n  seed: 7\n  caps: {default: 10}\n"))
	require.NoError(t, err)
	require.Equal(t, "mine", r.Name)
	require.Equal(t, 3, r.Adapters)
	require.EqualValues(t, 7, r.Rows.Seed)
	// What a pool stores of its recipe is that recipe.
	text, err := r.yaml()
	require.NoError(t, err)
	again, err := ParseRecipe([]byte(text))
	require.NoError(t, err)
	require.Equal(t, r, again)
}

func TestParseRecipeRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"":                                  "EOF",
		"adaptors: 3":                       `line 1: there is no key "adaptors"`,
		"rows: {sead: 1}":                   "sead",
		"adapters: 1":                       "adapters",
		"adapters: many":                    "line 1",
		"rank: 0":                           "rank",
		"rank: 100000":                      "rank",
		"keep: 9":                           "keep",
		"keep: 0":                           "keep",
		"largest_weight: 1":                 "largest_weight",
		"largest_weight: .nan":              "largest_weight",
		"learning_rate: .inf":               "learning_rate",
		"learning_rate: -1":                 "learning_rate",
		"epochs: 0":                         "epochs",
		"answers: 0":                        "answers",
		"max_tokens: 10":                    "max_tokens",
		"max_tokens: 127":                   "max_tokens: 127 is not in 128..8192",
		"listed: 2":                         "listed",
		"subsets: -0.1":                     "subsets",
		"nested: 1":                         "nested",
		"shots: 2":                          "shots",
		"loss: hinge":                       "loss",
		"shared_rank: 0\nnested: 0.3":       "shared_rank",
		"feature_layer: -1":                 "feature_layer",
		"store: Q4_K":                       "store",
		"rows: {max_rows: -1}":              "rows.max_rows",
		"sources: [{from: x.csv, maps: 1}]": `there is no key "maps"`,
		"sources: [{from: x.csv, map: {question: q}}]": "sources[0].map.answer",
		"sources: [{from: x.csv}, {from: hf://a/x}]":   `"x" is named twice`,
		"- a list": "line 1",
		"name: [":  "yaml",
		strings.Repeat("#", maxRecipe) + "\nname: x": "bytes",
	} {
		_, err := ParseRecipe([]byte(text))
		require.ErrorContains(t, err, says, "%.40s", text)
	}
}

func TestReadRecipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.yaml")
	_, err := ReadRecipe(path)
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	require.Contains(t, fault.Hint(err), "--recipe")
	require.NoError(t, os.WriteFile(path, []byte("nome: x"), 0o600))
	_, err = ReadRecipe(path)
	require.ErrorContains(t, err, path)
	require.NotEmpty(t, fault.Hint(err))
}

// The recipes in the tree are recipes.
func TestRecipesOfTheTree(t *testing.T) {
	files, err := filepath.Glob("../../recipes/*.yaml")
	require.NoError(t, err)
	for _, f := range files {
		_, err := ReadRecipe(f)
		require.NoError(t, err)
	}
}

func FuzzParseRecipe(f *testing.F) {
	f.Add([]byte("name: mine\nadapters: 3\nrows: {caps: {datasets: {a: 1}}}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRecipe(data)
		if err != nil {
			return
		}
		text, err := r.yaml()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseRecipe([]byte(text)); err != nil {
			t.Fatalf("a recipe that was read cannot be read again: %v\n%s", err, text)
		}
	})
}
