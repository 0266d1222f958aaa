package crayon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon"
	"crayon/internal/fault"
	"crayon/internal/testmodel/tiny"
)

const templateCSV = `question,answer
the red hat is on the hen,hat
where is the red hat?,hat
a hen is in the coop,hen
how many hens are there?,hen
the bus is late again,bus
which bus goes to the town?,bus
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func open(t *testing.T) *crayon.Crayon {
	t.Helper()
	model, pool := tiny.Tiny(t)
	c, err := crayon.Open(t.Context(), crayon.Options{Home: t.TempDir(), Model: model, Pool: pool, Threads: 1})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestFromExamplesToAnswers(t *testing.T) {
	c := open(t)
	set, err := crayon.ReadExamples(write(t, "mine.csv", templateCSV))
	require.NoError(t, err)
	custom, err := c.Customize(t.Context(), "mine", set, crayon.CustomizeOptions{})
	require.NoError(t, err)

	again, err := c.Blend(t.Context(), "mine", set, crayon.CustomizeOptions{})
	require.NoError(t, err)
	require.Equal(t, custom.Kept, again.Kept, "the same examples give the same weights")

	loaded, err := c.Load("mine")
	require.NoError(t, err)
	require.Equal(t, custom.Kept, loaded.Kept)
	prompts, err := c.Prompts(loaded)
	require.NoError(t, err)
	require.Equal(t, prompts, loaded.Prompts, "what is stored has the count")
	var tokens int
	for _, e := range loaded.Examples {
		a, err := c.Session(loaded).Ask(t.Context(), crayon.Question{Text: e.Question}, crayon.Silent)
		require.NoError(t, err)
		tokens += a.PromptTokens
	}
	require.InDelta(t, float64(tokens)/float64(len(loaded.Examples)), prompts.Tokens, 0.005)
	shares := crayon.Shares(c.Pool(), loaded)
	require.True(t, shares[len(shares)-1].Shared)
	require.GreaterOrEqual(t, shares[0].Weight, shares[1].Weight)

	a, err := c.Session(loaded).Ask(t.Context(), crayon.Question{Text: "is the hat red?"}, crayon.Silent)
	require.NoError(t, err)
	require.Contains(t, custom.Labels, a.Text)
	require.Equal(t, crayon.OnDevice, a.Decision.Route)

	proof, err := c.Prove(t.Context(), loaded, nil)
	require.NoError(t, err)
	require.NoError(t, c.KeepProof(loaded, proof))
	kept, err := c.Load("mine")
	require.NoError(t, err)
	require.Equal(t, proof, kept.Proof)
	versions, err := c.Versions("mine")
	require.NoError(t, err)
	require.Zero(t, versions, "the proof is no version of its own")

	// A proof of what was replaced meanwhile must not bring that back.
	_, err = c.Customize(t.Context(), "mine", set, crayon.CustomizeOptions{Keep: 1})
	require.NoError(t, err)
	require.Error(t, c.KeepProof(kept, proof))
	kept, err = c.Load("mine")
	require.NoError(t, err)
	require.Len(t, kept.Kept, 1)
}

func TestEvaluate(t *testing.T) {
	c := open(t)
	set, err := crayon.ReadExamples(write(t, "mine.csv", templateCSV))
	require.NoError(t, err)
	custom, err := c.Blend(t.Context(), "mine", set, crayon.CustomizeOptions{})
	require.NoError(t, err)
	var told []int
	scored, err := c.Evaluate(t.Context(), custom, set, []*crayon.Customisation{nil, custom}, func(done, total int) {
		require.Equal(t, 6, total)
		told = append(told, done)
	})
	require.NoError(t, err)
	require.Len(t, scored, 6)
	require.Equal(t, []int{1, 2, 3, 4, 5, 6}, told)
	for _, s := range scored {
		require.Len(t, s.Given, 2)
		require.Subset(t, custom.Labels, s.Given)
	}
	// What an answer is called must not depend on which row is asked.
	blind, err := crayon.ReadExamples(write(t, "q.csv", "question\nno answer here\n"))
	require.NoError(t, err)
	_, err = c.Evaluate(t.Context(), custom, blind, []*crayon.Customisation{nil}, nil)
	require.Equal(t, fault.ExitUsage, fault.Code(err))
}

func TestExportIsTheExactBlend(t *testing.T) {
	c := open(t)
	set, err := crayon.ReadExamples(write(t, "mine.csv", templateCSV))
	require.NoError(t, err)
	custom, err := c.Blend(t.Context(), "mine", set, crayon.CustomizeOptions{})
	require.NoError(t, err)
	for _, format := range []string{crayon.FormatPEFT, crayon.FormatGGUF} {
		e, err := c.Export(t.Context(), custom, c.Pool(), format, filepath.Join(t.TempDir(), format))
		require.NoError(t, err)
		require.Less(t, e.Residual, 1e-3, format)
		require.Equal(t, 3, e.Adapters, "two kept and the shared one")
		for _, f := range e.Files {
			require.FileExists(t, f)
		}
	}
	_, err = c.Export(t.Context(), custom, c.Pool(), "onnx", t.TempDir())
	require.Equal(t, fault.ExitUsage, fault.Code(err))
}

func TestSessionForgetsTheOldestTurns(t *testing.T) {
	c := open(t)
	s := c.Session(nil)
	long := strings.Repeat("the hat is on the hen and ", 20)
	for range 8 {
		_, err := s.Ask(t.Context(), crayon.Question{Text: long, MaxTokens: 2}, crayon.Silent)
		require.NoError(t, err)
	}
	require.Less(t, s.Turns(), 16)
	require.Greater(t, s.Turns(), 2)
	s.Clear()
	require.Zero(t, s.Turns())
}

func TestLocalOnlyAndErrors(t *testing.T) {
	model, pool := tiny.Tiny(t)
	home := t.TempDir()
	c, err := crayon.Open(t.Context(), crayon.Options{Home: home, Model: model, Pool: pool, LocalOnly: true, Servers: []crayon.Server{{URL: "http://127.0.0.1:9/v1"}}})
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Session(nil).Ask(t.Context(), crayon.Question{Text: "hello", Side: crayon.OnServer}, crayon.Silent)
	require.Equal(t, fault.ExitRefused, fault.Code(err))
	require.NoFileExists(t, c.Paths().Ledger())

	_, err = crayon.Open(t.Context(), crayon.Options{Home: home, Model: "smollm2-135m", Pool: pool})
	require.Contains(t, fault.Hint(err), "crayon pull")
	bare, err := crayon.Open(t.Context(), crayon.Options{Home: home, Model: model})
	require.NoError(t, err, "the pool in the program is for another model: none is used")
	require.Contains(t, bare.Warning(), "without customisations")
	require.NoError(t, bare.Close())
	_, err = c.Load("nobody")
	require.Error(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Session(nil).Ask(ctx, crayon.Question{Text: "hello"}, crayon.Silent)
	require.ErrorIs(t, err, context.Canceled)
}

// TestServeWithoutAPool: a bare model and one with an adapter are served too,
// each under a name a client can ask for.
func TestServeWithoutAPool(t *testing.T) {
	c := open(t)
	set, err := crayon.ReadExamples(write(t, "mine.csv", templateCSV))
	require.NoError(t, err)
	custom, err := c.Blend(t.Context(), "mine", set, crayon.CustomizeOptions{})
	require.NoError(t, err)
	folder := filepath.Join(t.TempDir(), "my adapter+")
	_, err = c.Export(t.Context(), custom, c.Pool(), crayon.FormatPEFT, folder)
	require.NoError(t, err)
	model, _ := tiny.Tiny(t)
	for name, o := range map[string]crayon.Options{"tiny": {}, "my-adapter-": {Adapter: folder}} {
		o.Home, o.Model, o.Threads = t.TempDir(), model, 1
		c, err := crayon.Open(t.Context(), o)
		require.NoError(t, err)
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		err = c.Serve(ctx, crayon.ServeOptions{Addr: "127.0.0.1:0", Ready: func(addr string) {
			defer cancel()
			r, err := http.Get("http://" + addr + "/v1/models")
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			body, err := io.ReadAll(r.Body)
			if err != nil || !strings.Contains(string(body), `"id":"`+name+`"`) {
				t.Errorf("%s, %v", body, err)
			}
		}})
		cancel()
		require.NoError(t, err)
		_, err = c.Session(custom).Ask(t.Context(), crayon.Question{Text: "is the hat red?", MaxTokens: 2}, crayon.Silent)
		require.Error(t, err, "there is no pool to blend")
	}
}

func TestEmbeddedPoolIsWhole(t *testing.T) {
	p, err := crayon.OpenPool("")
	require.NoError(t, err)
	require.Equal(t, crayon.DefaultModel, p.Base.Name)
	require.Greater(t, len(p.Blended()), 1)
}

func ExampleOpenLibrary() {
	home, err := os.MkdirTemp("", "crayon")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(home)
	lib, err := crayon.OpenLibrary(home)
	if err != nil {
		fmt.Println(err)
		return
	}
	entries, err := lib.List()
	fmt.Println(len(entries), err)
	_, err = lib.Load("mine")
	var told *crayon.Error
	fmt.Println(errors.As(err, &told), told.Op)
	// Output:
	// 0 <nil>
	// true find customisation
}

func ExampleOpen() {
	ctx := context.Background()
	c, err := crayon.Open(ctx, crayon.Options{LocalOnly: true})
	if err != nil {
		fmt.Println(err, fault.Hint(err))
		return
	}
	defer c.Close()
	set, err := crayon.ReadExamples("mine.csv")
	if err != nil {
		fmt.Println(err)
		return
	}
	mine, err := c.Customize(ctx, "mine", set, crayon.CustomizeOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := c.Session(mine).Ask(ctx, crayon.Question{Text: "where is my parcel?"}, crayon.Silent)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a.Text, a.Decision.Route)
}

func ExampleCheckName() {
	fmt.Println(crayon.CheckName("mine"))
	fmt.Println(crayon.CheckName("base") != nil)
	// Output:
	// <nil>
	// true
}

// A strategy that learns a private adapter is stored with it beside, runs from
// what was stored, and says so when that is gone.
func TestPolishIsStoredBeside(t *testing.T) {
	c := open(t)
	set, err := crayon.ReadExamples(write(t, "mine.csv", templateCSV))
	require.NoError(t, err)
	custom, err := c.Customize(t.Context(), "mine", set, crayon.CustomizeOptions{})
	require.NoError(t, err)
	better, err := c.Improve(t.Context(), custom, crayon.CustomizeOptions{Strategy: "polish"}, nil)
	require.NoError(t, err)
	require.Equal(t, "polish", better.Strategy)
	require.NotEmpty(t, better.Plan.File)
	file := filepath.Join(filepath.Dir(c.File("mine")), ".private", better.Plan.File)
	require.FileExists(t, file)
	loaded, err := c.Load("mine")
	require.NoError(t, err)
	ask := func(custom *crayon.Customisation) []float64 {
		a, err := c.Session(custom).Ask(t.Context(), crayon.Question{Text: "is the hat red?"}, crayon.Silent)
		require.NoError(t, err)
		return a.Label.Scores
	}
	require.Equal(t, ask(better), ask(loaded))
	require.NotEqual(t, ask(custom), ask(loaded))
	alone, err := c.Export(t.Context(), custom, c.Pool(), crayon.FormatGGUF, t.TempDir())
	require.NoError(t, err)
	if loaded, err = c.Load("mine"); err != nil { // not bound to any model
		t.Fatal(err)
	}
	whole, err := c.Export(t.Context(), loaded, c.Pool(), crayon.FormatGGUF, t.TempDir())
	require.NoError(t, err)
	require.Greater(t, whole.Rank, alone.Rank)
	require.Less(t, whole.Residual, 1e-5)
	versions, err := c.Versions("mine")
	require.NoError(t, err)
	require.Equal(t, 1, versions)
	_, is, err := c.Amend(t.Context(), "mine", nil, 1)
	require.NoError(t, err)
	require.Equal(t, "polish", is.Strategy, "made anew by the strategy that made it")

	file = filepath.Join(filepath.Dir(file), is.Plan.File)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	data[len(data)-3] ^= 0xff
	require.NoError(t, os.WriteFile(file, data, 0o600))
	damaged, err := c.Load("mine")
	require.NoError(t, err)
	require.Equal(t, "polish", damaged.Strategy)
	require.ErrorContains(t, c.Fits(t.Context(), damaged), "damaged")
	require.NoError(t, os.Remove(file))
	damaged, err = c.Load("mine")
	require.NoError(t, err)
	require.ErrorContains(t, c.Fits(t.Context(), damaged), "is gone")
}
