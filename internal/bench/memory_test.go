package bench

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/strategy"
)

var toySource = Source{Model: "m", Pool: "p", Device: "toy"}

// everything is all that a memory can hold of two users.
func everything() Options {
	o := options()
	o.Shots, o.Draws, o.Full, o.Rows, o.Datasets, o.Resamples = []int{0, 16}, 2, true, 20, []string{"desk/trips", "quiz"}, 100
	return o
}

// remembered runs over a memory; asked are the asks and directions that the
// engine got.
func remembered(t testing.TB, path string, of Source, change func(*Options)) (rep *Report, sheets []Sheet, dump string, asked int, err error) {
	t.Helper()
	m, err := OpenMemory(path, of)
	require.NoError(t, err)
	var out bytes.Buffer
	o := everything()
	o.Dump, o.Memory = &out, m
	change(&o)
	e := &counted{toy: newToy()}
	rep, sheets, err = Run(context.Background(), town(t), e, o)
	require.NoError(t, m.Close())
	for _, call := range e.calls {
		asked += len(call)
	}
	if rep != nil {
		rep.Environment.Date = ""
	}
	return rep, sheets, out.String(), asked + e.directions, err
}

type counted struct {
	*toy
	directions int
}

func (c *counted) Directions(ctx context.Context, questions []string) ([][]float32, error) {
	c.directions += len(questions)
	return c.toy.Directions(ctx, questions)
}

// A run over its own memory asks for nothing and says the same to the byte; one
// with another prior or other strategies asks for what is new alone.
func TestMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scores")
	same := func(*Options) {}
	rep, sheets, dump, asked, err := remembered(t, path, toySource, same)
	require.NoError(t, err)
	require.Positive(t, asked)
	plain, bare := everything(), &bytes.Buffer{}
	plain.Dump = bare
	want, wantSheets, err := Run(context.Background(), town(t), newToy(), plain)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(want.Figures, rep.Figures), "a memory changes no figure")
	require.Empty(t, cmp.Diff(wantSheets, sheets))
	require.Equal(t, bare.String(), dump)

	again, againSheets, againDump, asked, err := remembered(t, path, toySource, same)
	require.NoError(t, err)
	require.Zero(t, asked)
	require.Empty(t, cmp.Diff(rep, again))
	require.Empty(t, cmp.Diff(sheets, againSheets))
	require.Equal(t, dump, againDump)

	prior := *strategy.DefaultPrior() // one that tries what this one does not
	prior.Choice.Default = "blend"
	prior.Choice.Kinds = map[strategy.Kind]map[string]strategy.Experience{}
	for _, kind := range strategy.Kinds {
		prior.Choice.Kinds[kind] = map[string]strategy.Experience{}
		for _, name := range []string{"blend", "base", "shots16", "shots_mix", "stack", "stack_shots", "refine"} {
			prior.Choice.Kinds[kind][name] = strategy.Experience{Scale: 1, Spread: 1, Noise: 1}
		}
	}
	_, _, _, asked, err = remembered(t, path, toySource, func(o *Options) { o.Prior, o.Budget = &prior, time.Hour })
	require.NoError(t, err)
	require.Zero(t, asked, "another prior needs no pass")

	elsewhere := toySource
	elsewhere.Device = ""
	again, _, _, asked, err = remembered(t, path, elsewhere, same)
	require.NoError(t, err)
	require.Zero(t, asked)
	require.Empty(t, cmp.Diff(rep.Figures, again.Figures))
	_, _, _, asked, err = remembered(t, path, elsewhere, func(o *Options) { o.Shots = []int{4} })
	require.ErrorContains(t, err, "filled by another device (toy)")
	require.Zero(t, asked)

	_, err = OpenMemory(path, Source{Model: "m", Pool: "another", Device: "toy"})
	require.ErrorContains(t, err, "another model or pool")
}

// What a crash cut short is asked again, and nothing else.
func TestMemoryIsMended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scores")
	change := func(o *Options) { o.Full, o.Strategies = false, []string{"base", "blend"} }
	rep, _, _, most, err := remembered(t, path, toySource, change)
	require.NoError(t, err)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, cut := range []int{1, 5, 20, len(memoryMagic), len(memoryMagic) + 3, len(data) / 2, len(data) - 3, len(data) - 1} {
		require.NoError(t, os.WriteFile(path, data[:cut], 0o600))
		if cut < len(memoryMagic) {
			_, err := OpenMemory(path, toySource)
			require.ErrorContains(t, err, "it is no memory of scores")
			continue
		}
		_, _, _, asked, err := remembered(t, path, toySource, change)
		require.NoError(t, err)
		require.Positive(t, asked)
		require.LessOrEqual(t, asked, most)
		again, _, _, asked, err := remembered(t, path, toySource, change)
		require.NoError(t, err)
		require.Zero(t, asked)
		require.Empty(t, cmp.Diff(rep.Figures, again.Figures))
	}
	torn := bytes.Clone(data)
	torn[len(torn)-9] ^= 1 // the last block was not synced
	require.NoError(t, os.WriteFile(path, torn, 0o600))
	_, _, _, asked, err := remembered(t, path, toySource, change)
	require.NoError(t, err)
	require.Positive(t, asked)
	torn = bytes.Clone(data)
	torn[len(data)/3] ^= 1 // the first user's
	require.NoError(t, os.WriteFile(path, torn, 0o600))
	_, err = OpenMemory(path, toySource)
	require.ErrorContains(t, err, "read memory of scores")
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, torn, again, "it is left as it was")
}

// A private adapter is known by what is in it, not by where it is.
func TestMemoryOfPrivate(t *testing.T) {
	m, err := OpenMemory(filepath.Join(t.TempDir(), "scores"), toySource)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	of := func(x, scale float32) *strategy.Ask {
		return &strategy.Ask{Text: "q", Candidates: []string{"a"}, Private: &adapter.Adapter{Scale: scale,
			Pairs: map[arch.Slot]*adapter.Pair{0: {Rank: 1, In: 1, Out: 1, A: []float32{x}, B: []float32{1}}}}}
	}
	require.Equal(t, m.key(of(1, 1)), m.key(of(1, 1)))
	require.NotEqual(t, m.key(of(1, 1)), m.key(of(2, 1)))
	require.NotEqual(t, m.key(of(1, 1)), m.key(of(1, 2)))
	require.NotEqual(t, m.key(of(1, 1)), m.key(&strategy.Ask{Text: "q", Candidates: []string{"a"}}))
}

func FuzzMemory(f *testing.F) {
	m := &Memory{known: map[recallKey]*recalled{}}
	one, two := recallKey{1}, recallKey{2}
	m.known[one] = &recalled{answer: answer{scores: []strategy.Score{{Sum: -1.5, Tokens: 3}, {Sum: -2}}, cost: cost{1, 2}}}
	m.known[two] = &recalled{direction: []float32{0.6, 0.8}}
	f.Add(m.format([]recallKey{one, two}))
	f.Add(m.format([]recallKey{two}))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &Memory{known: map[recallKey]*recalled{}}
		if m.parse(data) != nil {
			return
		}
		var keys []recallKey
		for k := range m.known {
			keys = append(keys, k)
		}
		again := &Memory{known: map[recallKey]*recalled{}}
		if err := again.parse(m.format(keys)); err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			a, b := m.known[k], again.known[k]
			if len(a.scores) != len(b.scores) || len(a.direction) != len(b.direction) || a.cost != b.cost {
				t.Fatalf("%v is %+v, was %+v", k, b, a)
			}
		}
	})
}
