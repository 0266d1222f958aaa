package pooltrain

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/chat"
	"crayon/internal/customize"
	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/qa"
	"crayon/internal/task"
	"crayon/internal/testmodel"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/tokenizer"
)

type row map[string]any

// data is a folder of two small sets: a label task and one with own choices.
func data(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(set string, rows []row) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, set), 0o700))
		f, err := os.Create(filepath.Join(dir, set, "train.jsonl.gz"))
		require.NoError(t, err)
		defer f.Close()
		z := gzip.NewWriter(f)
		for i, r := range rows {
			r["dataset"], r["id"] = set, fmt.Sprint(i)
			require.NoError(t, json.NewEncoder(z).Encode(r))
		}
		require.NoError(t, z.Close())
	}
	labels := []string{"ant", "bee", "cat", "dog", "eel"}
	var a, b []row
	for i := range 24 {
		a = append(a, row{"question": fmt.Sprintf("where does the %d live", i), "choices": labels, "answer": i % 5})
		b = append(b, row{"question": fmt.Sprintf("?? 7 x %d", i), "context": "count", "choices": []string{fmt.Sprint(7 * i), fmt.Sprint(7*i + 1), "none"}, "answer": 0})
	}
	write("animals", a)
	write("sums", b)
	return dir
}

func opened(t *testing.T, dir string) *qa.Data {
	t.Helper()
	d, err := qa.Open(dir)
	require.NoError(t, err)
	return d
}

func options(t *testing.T) Options {
	t.Helper()
	modelPath, _ := tiny.Tiny(t)
	r, err := ParseRecipe([]byte(`
name: small
adapters: 2
rank: 1
shared_rank: 1
single_rank: 2
keep: 1
feature_layer: 1
step_tokens: 512
micro_tokens: 128
max_tokens: 160
answers: 3
listed: 0.5
subsets: 0.5
store: Q8_0
licence: CC0-1.0
rows: {seed: 3}
`))
	require.NoError(t, err)
	return Options{Model: modelPath, ModelName: "tiny", Data: opened(t, data(t)), Recipe: r, Out: filepath.Join(t.TempDir(), "small.crayon"), Workers: 2}
}

// same is a pool's file without what the clock says.
func same(t *testing.T, p *pool.Pool) []byte {
	t.Helper()
	p.Made.Created, p.Made.Seconds = "", 0
	b, err := p.Bytes(gguf.F32)
	require.NoError(t, err)
	return b
}

func TestRun(t *testing.T) {
	o := options(t)
	stages := map[string]bool{}
	steps := 0
	o.Progress = func(s Stage) {
		stages[s.Name] = true
		if s.Step != nil {
			steps = s.Step.Steps
		}
	}
	p, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Greater(t, steps, 2)
	for _, s := range []string{"rows", "features", "indicators", "train", "write"} {
		require.True(t, stages[s], s)
	}
	opened, err := pool.Open(o.Out)
	require.NoError(t, err)
	require.Equal(t, p.Digest(), opened.Digest())
	require.Equal(t, "small", opened.Name)
	require.Equal(t, []string{SharedName, "red", "orange"}, []string{opened.Members[0].Name, opened.Members[1].Name, opened.Members[2].Name})
	require.Equal(t, 48, opened.Made.Examples)
	require.Equal(t, 48, opened.Members[1].Examples+opened.Members[2].Examples)
	require.Equal(t, steps, opened.Made.Steps)
	require.Positive(t, opened.Made.Loss)
	require.Len(t, opened.Made.Data, 2)
	require.Len(t, opened.Made.Sets, 2)
	require.Len(t, opened.Made.Files, 2)
	require.Regexp(t, `^animals train: 24 rows of animals/train.jsonl.gz, sha256 [0-9a-f]{64}$`, opened.Made.Files[0])
	require.Len(t, opened.Coverage, 2)
	require.Equal(t, 48, opened.Coverage[0].Rows+opened.Coverage[1].Rows)
	require.NotEmpty(t, opened.Made.Device)
	require.NotEmpty(t, opened.Made.Program)
	require.Equal(t, "Q8_0", opened.Made.Store)
	require.InDelta(t, 0.005, opened.Made.StoreError, 0.005)
	require.Positive(t, opened.Made.StoreError)
	recipe, err := ParseRecipe([]byte(opened.Made.Recipe))
	require.NoError(t, err)
	require.Equal(t, o.Recipe, recipe)

	// The tau that was set gives the largest weight the recipe asks for.
	d, err := device.Open(t.Context(), o.Model, opened, device.Options{Threads: 1, Digest: opened.Base.Digest})
	require.NoError(t, err)
	defer d.Close()
	require.Empty(t, d.Warning)
	rows := o.Data
	var largest float64
	n := 0
	for _, set := range rows.Datasets() {
		all, err := rows.All(set, "train")
		require.NoError(t, err)
		for _, r := range all {
			dir, err := d.Direction(t.Context(), r.Question)
			require.NoError(t, err)
			largest += float64(slices.Max(pool.Weights(opened.Similarity(dir), opened.Feature.Tau)))
			n++
		}
	}
	require.InDelta(t, o.Recipe.LargestShare, largest/float64(n), 0.02)

	// It customises, and does something.
	set := &examples.Set{Examples: []examples.Example{{Question: "where does the hen live"}}}
	c, err := customize.Make(t.Context(), d, "mine", set, customize.Options{})
	require.NoError(t, err)
	_, err = c.Bind(t.Context(), d)
	require.NoError(t, err)

	// The same again, with another number of workers, is the same pool; the
	// checkpoint that is there says that all steps are done.
	o.Workers, o.Progress = 1, nil
	again, err := Run(t.Context(), o)
	require.NoError(t, err)
	again.Made.Workers = p.Made.Workers
	want := same(t, p)
	require.Equal(t, want, same(t, again))

	// And so is one that was stopped at a step and went on.
	o.Out = filepath.Join(t.TempDir(), "stopped.crayon")
	for _, stop := range []int{1, steps - 1} {
		ctx, cancel := context.WithCancel(t.Context())
		o.Progress = func(s Stage) {
			if s.Step != nil && s.Step.Step >= stop {
				cancel()
			}
		}
		_, err := Run(ctx, o)
		require.ErrorIs(t, err, context.Canceled)
		require.NoFileExists(t, o.Out)
		cancel()
	}
	o.Progress = nil
	resumed, err := Run(t.Context(), o)
	require.NoError(t, err)
	resumed.Made.Workers = p.Made.Workers
	require.Equal(t, want, same(t, resumed))
}

func TestSingle(t *testing.T) {
	o := options(t)
	a, err := Single(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, SingleName, a.Name)
	require.Equal(t, 2, a.Rank())
	require.Len(t, a.Pairs, tiny.Config.Slots())
	o.Recipe.SingleRank = 0
	_, err = Single(t.Context(), o)
	require.Equal(t, fault.ExitUsage, fault.Code(err))
}

func TestRunRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Options){
		"a layer the model has not": func(o *Options) { o.Recipe.FeatureLayer = 3 },
		"a recipe out of range":     func(o *Options) { o.Recipe.Rank = 0 },
		"no data":                   func(o *Options) { o.Recipe.Rows.Exclude.Datasets = []string{"animals", "sums"} },
		"no model":                  func(o *Options) { o.Model += "x" },
		"too few rows":              func(o *Options) { o.Recipe.Rows.MaxRows = 5 },
		"an answer without room":    func(o *Options) { o.Recipe.MaxTokens = 90 },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			spoil(&o)
			_, err := Run(t.Context(), o)
			require.Error(t, err)
			require.NoFileExists(t, o.Out)
		})
	}
	o := options(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Run(gone, o)
	require.ErrorIs(t, err, context.Canceled)
}

// What a row is trained with is what serves it: the prompt of its question,
// context and options, and the same answers.
func TestTrainingPromptIsServingPrompt(t *testing.T) {
	modelPath, _ := tiny.Tiny(t)
	trainingPrompts(t, modelPath)
}

func TestTrainingPromptIsServingPromptOnTheRealModel(t *testing.T) {
	trainingPrompts(t, testmodel.Path(t))
}

func trainingPrompts(t *testing.T, path string) {
	f, err := gguf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	tok, err := tokenizer.FromGGUF(f)
	require.NoError(t, err)
	form, err := device.NewForm(tok, pool.Prompt{Template: chat.ChatML})
	require.NoError(t, err)
	labels := []string{"card lost", "card stolen", "balance", "transfer", "limit", "other"}
	plain := qa.Row{Question: "Who said <|im_end|>?", Context: "A line.\nAnother.", Choices: []string{"he", "she", "they"}, Answer: 1}
	label := qa.Row{Question: "my card is gone", Choices: labels, Answer: 1}
	for name, x := range map[string]struct {
		recipe Recipe
		row    qa.Labelled
		listed bool
	}{
		"plain":         {Recipe{Answers: 5}, qa.Labelled{Row: plain}, false},
		"plain, listed": {Recipe{Answers: 5, ListedShare: 1}, qa.Labelled{Row: plain}, true},
		"labels":        {Recipe{Answers: 3}, qa.Labelled{Row: label, Labels: labels}, true},
		"some labels":   {Recipe{Answers: 3, SubsetShare: 1}, qa.Labelled{Row: label, Labels: labels}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				x.recipe.Rows.Seed = seed
				ex, _, err := newBuilder(&form, &x.recipe, []qa.Labelled{x.row}, nil).example(0)
				require.NoError(t, err)
				require.LessOrEqual(t, len(ex.Answers), x.recipe.Answers)
				require.Equal(t, form.Answer(x.row.Gold()), ex.Answers[0])
				for _, a := range ex.Answers[1:] {
					text := tok.Decode(a[:len(a)-1])
					require.Contains(t, x.row.Choices, text)
					require.NotEqual(t, x.row.Gold(), text)
				}
				// The options in the order that the prompt lists them in.
				var options []string
				if x.listed {
					options = listed(tok.Decode(ex.Prompt), x.row.Choices)
					require.Contains(t, options, x.row.Gold())
					if x.recipe.SubsetShare == 0 {
						require.ElementsMatch(t, x.row.Choices, options)
					} else {
						require.GreaterOrEqual(t, len(options), 4)
					}
				}
				c := &customize.Customisation{Labels: options}
				want, err := form.Prompt(c.Text(x.row.Question, x.row.Context))
				require.NoError(t, err)
				require.Equal(t, want, ex.Prompt)
				require.Equal(t, task.Cut(want, task.MaxPrompt), ex.Prompt, "short prompts are whole in the benchmark too")
			}
		})
	}
}

// listed are the choices in the order of their lines in the prompt.
func listed(prompt string, choices []string) []string {
	type place struct {
		at   int
		text string
	}
	var places []place
	for _, c := range choices {
		if at := strings.Index(prompt, "\n- "+c+"\n"); at >= 0 {
			places = append(places, place{at, c})
		} else if at := strings.Index(prompt, "\n- "+c+"<|im_end|>"); at >= 0 {
			places = append(places, place{at, c})
		}
	}
	slices.SortFunc(places, func(a, b place) int { return a.at - b.at })
	var out []string
	for _, p := range places {
		out = append(out, p.text)
	}
	return out
}
