package peer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon"
	"crayon/internal/fault"
	"crayon/internal/testmodel"
	"crayon/internal/testmodel/tiny"
	"crayon/test/llamacpp/fetch"
)

// program stands in for crayon: it fails unless it is told to customise from a
// file without a proof.
func program(args []string) {
	at := slices.Index(args, "-f")
	if !slices.Contains(args, "--no-proof") || at < 0 || os.Getenv("CRAYON_MODEL") != "" {
		fmt.Fprintln(os.Stderr, "not so:", args)
		os.Exit(2)
	}
	if data, err := os.ReadFile(args[at+1]); err != nil || bytes.Contains(data, []byte("bad")) {
		fmt.Fprintln(os.Stderr, "bad examples")
		os.Exit(1)
	}
}

// llamaLibrary is the folder of llama.cpp, or skips.
func llamaLibrary(t *testing.T) string {
	t.Helper()
	dir, ok := fetch.Present()
	if !ok {
		t.Skip("llama.cpp's libraries are not here: go -C test/llamacpp run ./cmd/fetch")
	}
	return dir
}

// world is a home with the tiny model in the default one's place, and options
// of a race in it.
func world(t *testing.T) Options {
	t.Helper()
	runtime.LockOSThread() // for the rest of the test's goroutine
	model, pool := tiny.Tiny(t)
	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, "models"), 0o755))
	require.NoError(t, os.Rename(model, filepath.Join(home, "models", smollm+".gguf")))
	examples := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(examples, "tiny.csv"), []byte("question,answer\nWhy?,because\nHow?,so\nWhen?,now\n"), 0o644))
	t.Setenv("CRAYON_HOME", home)
	t.Setenv("CRAYON_TEST_MODEL", "")
	t.Setenv("CRAYON_MODEL", "elsewhere")
	t.Setenv("PEER_TEST_CHILD", "child")
	return Options{Threads: 1, Repeats: 5, Command: []string{os.Args[0]}, Crayon: os.Args[0], Examples: examples, Pool: pool, Log: os.Stderr}
}

func TestRaceAgainstItself(t *testing.T) {
	o := world(t)
	var log bytes.Buffer
	o.Rows, o.Log = []string{"batch4", "blend_cost", FootprintName}, &log
	r, err := Race(t.Context(), o)
	require.NoError(t, err, log.String())
	require.Equal(t, []string{"batch4", "blend_cost"}, []string{r.Rows[0].Name, r.Rows[1].Name})
	for _, m := range r.Rows {
		require.Positive(t, m.Ratio, m.Name)
		require.Equal(t, Crayon, m.Contender.Engine)
	}
	require.Less(t, r.Rows[1].Figure(), 1.0)
	require.Len(t, r.Engines, 1)
	require.Contains(t, log.String(), "batch4")
	f := r.Footprint
	require.NotNil(t, f)
	for _, s := range []float64{f.Open, f.Customize, f.CustomizeOpen} {
		require.Positive(t, s)
	}
	require.Equal(t, "tiny.csv", f.Examples)
	require.Equal(t, f.Allowed, f.Weights+f.Cache+beside)
	require.EqualValues(t, 2*2*2*2*16*512, f.Cache) // key and value, 2 bytes, 2 layers, 2 heads of 16, 512 tokens
	if runtime.GOOS == "linux" {
		require.Greater(t, f.Memory.Resident, int64(1<<20))
		require.GreaterOrEqual(t, f.Memory.Peak, f.Memory.Resident)
	}
}

func TestRaceAgainstLlama(t *testing.T) {
	dir := llamaLibrary(t)
	o := world(t)
	var log bytes.Buffer
	o.Rows, o.Log, o.Library = []string{"score", "decode_blend"}, &log, dir
	r, err := Race(t.Context(), o)
	require.NoError(t, err, log.String())
	require.Len(t, r.Engines, 2)
	require.Equal(t, "questions/s", r.Rows[0].Unit)
	require.Positive(t, r.Rows[0].Difference, "two engines never round alike")
	require.Positive(t, r.Rows[1].Ratio)
}

func TestRaceFaults(t *testing.T) {
	o := world(t)
	o.Rows = []string{"blend_cost", "qwen15_decode"}
	_, err := Race(t.Context(), o)
	require.ErrorContains(t, err, qwen15)
	require.Equal(t, "crayon pull "+qwen15, fault.Hint(err))

	o.Rows = []string{FootprintName}
	none := o
	none.Crayon = filepath.Join(t.TempDir(), "none")
	_, err = Race(t.Context(), none)
	require.Equal(t, "make build", fault.Hint(err))
	none = o
	none.Examples = t.TempDir()
	_, err = Race(t.Context(), none)
	require.ErrorContains(t, err, "find examples")

	require.NoError(t, os.WriteFile(filepath.Join(o.Examples, "tiny.csv"), []byte("bad"), 0o644))
	_, err = Race(t.Context(), o)
	require.ErrorContains(t, err, "bad examples")
}

// What was measured before Ctrl-C is not lost.
func TestRaceInterrupted(t *testing.T) {
	o := world(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Rows, o.Log = []string{"batch4", "blend_cost"}, writer(func(p []byte) {
		if bytes.HasPrefix(p, []byte("blend_cost")) {
			cancel()
		}
	})
	r, err := Race(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "blend_cost")
	require.Len(t, r.Rows, 1)
	require.Len(t, r.Engines, 1)
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

func TestChildrenLiveAsLongAsTheyAreNeeded(t *testing.T) {
	o := world(t)
	r := &race{Options: o, files: files{dir: t.TempDir(), threads: 1}, children: map[string]*process{}, report: newReport(o)}
	defer r.close()
	rows, _, err := pick([]string{"batch4", "blend_cost"})
	require.NoError(t, err)
	rows = append(rows, Row{Name: "base", Work: decode, Model: smollm, Contenders: []Contender{{Engine: Crayon}}})
	plans, err := r.plan(rows)
	require.NoError(t, err)
	for _, p := range plans {
		require.Equal(t, p.setups[0], p.setups[1], "one child does both")
	}
	require.NotEqual(t, plans[0].setups[0], plans[1].setups[0])
	require.NotEqual(t, plans[1].setups[0], plans[2].setups[0])
	for _, p := range plans {
		for _, s := range p.setups {
			_, err := r.child(t.Context(), s)
			require.NoError(t, err)
		}
	}
	require.Len(t, r.children, 3)
	r.release(plans[1:])
	require.Len(t, r.children, 2)
	r.release(nil)
	require.Empty(t, r.children)
}

// Every user gets as many adapters as a customisation keeps, not the same ones.
func TestMembers(t *testing.T) {
	p, err := crayon.OpenPool("")
	require.NoError(t, err)
	seen := map[string]bool{}
	for i := range 4 {
		w := members(p, i, 4)
		sum, kept := float32(0), 0
		for k, m := range p.Members {
			if m.Shared {
				require.EqualValues(t, 1, w[k])
			} else if w[k] > 0 {
				kept++
				sum += w[k]
			}
		}
		require.Equal(t, p.Keep, kept)
		require.InDelta(t, 1, sum, 1e-6)
		require.False(t, seen[fmt.Sprint(w)])
		seen[fmt.Sprint(w)] = true
	}
}

// The questions are as long as they are said to be, and llama.cpp scores them as
// Crayon does, both ways of putting them.
func TestScoresAgree(t *testing.T) {
	path := testmodel.Path(t)
	all, err := asks(path)
	require.NoError(t, err)
	for i, a := range all {
		require.InDelta(t, 90, len(a.Prompt), 10, "ask %d", i)
		require.Len(t, a.Choices, 4)
		for _, c := range a.Choices {
			require.InDelta(t, 5, len(c), 3, "ask %d", i)
		}
	}
	dir := llamaLibrary(t)
	all = all[:4]
	c, err := open(Setup{Engine: Crayon, Model: path, Threads: 1})
	require.NoError(t, err)
	defer c.close()
	l, err := open(Setup{Engine: Llama, Library: dir, Model: path, Threads: 1, Sequences: 5})
	require.NoError(t, err)
	defer l.close()
	mine, err := Work{Kind: Score, Asks: all}.run(c)
	require.NoError(t, err)
	for _, joint := range []bool{false, true} {
		theirs, err := Work{Kind: Score, Asks: all, Joint: joint}.run(l)
		require.NoError(t, err)
		d, err := apart(mine.Scores, theirs.Scores)
		require.NoError(t, err)
		t.Logf("joint %v: at most %.3f nats a token apart", joint, d)
		for i := range all {
			x, y := bestOf(mine.Scores[i]), bestOf(theirs.Scores[i])
			if x != y { // only where rounding decides
				require.Less(t, mine.Scores[i][x]-mine.Scores[i][y], d, "ask %d", i)
			}
		}
	}
}

func bestOf(scores []float64) int { return slices.Index(scores, slices.Max(scores)) }

// Sequences of one batch say what each would say alone.
func TestSequencesAreIndependent(t *testing.T) {
	model, pool := tiny.Tiny(t)
	e, err := openCrayon(Setup{Engine: Crayon, Model: model, Threads: 2, Blends: 4, Pool: pool})
	require.NoError(t, err)
	defer e.close()
	c := e.(*crayonEngine)
	in, out := make([][]int32, 4), make([]int32, 4)
	for i := range in {
		in[i] = tokens(promptTokens+i, c.vocab())
	}
	require.NoError(t, c.next(in, out))
	rows := c.rows
	for i := range in {
		require.NoError(t, c.clear())
		c.rows = rows[i:]
		alone := make([]int32, 1)
		require.NoError(t, c.next(in[i:i+1], alone))
		require.Equal(t, out[i], alone[0], "sequence %d", i)
	}
}

func TestParseMemory(t *testing.T) {
	m, err := parseMemory("Name:\tpeer\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\nRssFile:\t     4 kB\nThreads:\t3\n")
	require.NoError(t, err)
	require.Equal(t, memory{Resident: 1 << 20, Peak: 2 << 20, File: 4096}, m)
	_, err = parseMemory("VmRSS: much\n")
	require.Error(t, err)
}
