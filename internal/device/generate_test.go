package device

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
)

func open(t testing.TB) *Device {
	t.Helper()
	return openWith(t, Options{Threads: 2})
}

func openWith(t testing.TB, o Options) *Device {
	t.Helper()
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	d, err := Open(t.Context(), modelPath, p, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func prompt(t testing.TB, d *Device, text string) []int32 {
	t.Helper()
	ids, err := d.Form.Prompt(text)
	require.NoError(t, err)
	return ids
}

// run makes a whole answer piece by piece.
func run(t testing.TB, d *Device, req Request) ([]Piece, Result) {
	t.Helper()
	g, err := d.Start(req)
	require.NoError(t, err)
	var pieces []Piece
	for {
		p, more, err := g.Next(t.Context())
		require.NoError(t, err)
		if !more {
			break
		}
		pieces = append(pieces, p)
	}
	r := g.Result()
	require.Len(t, pieces, r.Tokens)
	require.Len(t, r.LogProbs, r.Tokens)
	require.Equal(t, len(req.Prompt), r.PromptTokens)
	text := ""
	for i, p := range pieces {
		text += p.Text
		require.Equal(t, p.LogProb, r.LogProbs[i])
		require.True(t, utf8.ValidString(p.Text), "piece %d: %q", i, p.Text)
	}
	require.Equal(t, text, r.Text)
	return pieces, r
}

func ids(pieces []Piece) []int32 {
	out := make([]int32, len(pieces))
	for i, p := range pieces {
		out[i] = p.Token
	}
	return out
}

// Greedy tokens are those of forward passes over the growing sequence.
func TestGreedyIsTheLikeliestToken(t *testing.T) {
	d := open(t)
	seq := prompt(t, d, "the hat")
	row := d.Row([]float32{0.5, 0.25, 0.25, 1})
	for _, row := range [][]float32{nil, row} {
		pieces, r := run(t, d, Request{Prompt: seq, Row: row, MaxTokens: 12, Top: 3})
		require.Equal(t, "length", r.Finish)
		whole := slices.Clone(seq)
		for _, p := range pieces {
			in := []model.Input{{Cache: d.Model.NewCache(0), Tokens: whole, Row: row, Want: model.WantLast}}
			require.NoError(t, d.Model.Forward(t.Context(), side(t, d), in, func(_, _ int, l []float32) error {
				require.Equal(t, int32(kernel.MaxIndex(l)), p.Token)
				require.InDelta(t, l[p.Token]-kernel.LogSumExp(l), p.LogProb, 1e-2)
				return nil
			}))
			require.Len(t, p.Top, 3)
			require.Equal(t, p.Token, p.Top[0].Token)
			require.Equal(t, p.LogProb, p.Top[0].LogProb)
			require.GreaterOrEqual(t, p.Top[1].LogProb, p.Top[2].LogProb)
			whole = append(whole, p.Token)
		}
	}
}

func TestSeedsRepeat(t *testing.T) {
	d := open(t)
	req := Request{Prompt: prompt(t, d, "a"), MaxTokens: 30, Sampling: model.Sampling{Temperature: 2, TopK: 50, TopP: 0.95, Seed: 9}}
	a, _ := run(t, d, req)
	b, _ := run(t, d, req)
	require.Equal(t, ids(a), ids(b))
	req.Seed = 10
	c, _ := run(t, d, req)
	require.NotEqual(t, ids(a), ids(c))
	req.Temperature = -1
	_, err := d.Start(req)
	require.Equal(t, fault.ExitUsage, fault.Code(err))
}

// At a high temperature the tokens are nearly uniform: bytes that are no
// characters, merges, and now and then the end.
func TestTextIsThatOfTheTokens(t *testing.T) {
	d := open(t)
	ended := 0
	for seed := range uint64(40) {
		pieces, r := run(t, d, Request{Prompt: prompt(t, d, "x"), MaxTokens: 60, Sampling: model.Sampling{Temperature: 100, Seed: seed}})
		answer := ids(pieces)
		last := answer[len(answer)-1]
		end := slices.IndexFunc(answer, func(id int32) bool { return slices.Contains(d.Tokenizer.EndOfTurn(), id) })
		if r.Finish == "stop" {
			ended++
			require.Equal(t, len(answer)-1, end, "nothing comes after the end token")
			answer = answer[:end]
		} else {
			require.Equal(t, 60, r.Tokens)
			require.Equal(t, -1, end, "token %d", last)
		}
		answer = slices.DeleteFunc(answer, d.Tokenizer.IsSpecial)
		require.Equal(t, strings.ToValidUTF8(d.Tokenizer.Decode(answer), ""), strings.ReplaceAll(r.Text, "\uFFFD", ""))
	}
	require.Positive(t, ended)
	require.Less(t, ended, 40)
}

// A stop string may begin and end within tokens; the text ends before it, and
// nothing of it is given out.
func TestStopStringsSpanTokens(t *testing.T) {
	d := open(t)
	req := Request{Prompt: prompt(t, d, "the hat"), MaxTokens: 300, Sampling: model.Sampling{Temperature: 1, Seed: 4}}
	_, whole := run(t, d, req)
	require.Greater(t, len(whole.Text), 20)
	starts := []int{}
	for i := range whole.Text {
		starts = append(starts, i)
	}
	n := 0
	for i := 1; i+4 < len(starts); i++ {
		stop := whole.Text[starts[i]:starts[i+3]]
		if n == 20 || strings.Contains(stop, "\uFFFD") {
			continue
		}
		req.Stop = []string{"never said", stop, ""}
		pieces, r := run(t, d, req)
		n++
		require.Equal(t, whole.Text[:strings.Index(whole.Text, stop)], r.Text)
		require.Equal(t, "stop", r.Finish)
		require.LessOrEqual(t, len(pieces), 300)
	}
	require.Positive(t, n)
}

func TestStopperGivesTheTextBeforeTheFirstStop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching("[abc]{0,30}").Draw(t, "text")
		stops := rapid.SliceOfN(rapid.StringMatching("[abc]{0,4}"), 0, 3).Draw(t, "stops")
		// The text up to the first place where a stop string is whole.
		want, stopped := text, false
	scan:
		for end := range len(text) + 1 {
			longest := -1
			for _, s := range stops {
				if s != "" && strings.HasSuffix(text[:end], s) {
					longest = max(longest, len(s))
				}
			}
			if longest >= 0 {
				want, stopped = text[:end-longest], true
				break scan
			}
		}
		s := stopper{stops: stops}
		got, done := "", false
		for rest := text; rest != "" && !done; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			var out string
			out, done = s.add(rest[:n])
			got, rest = got+out, rest[n:]
			if !strings.HasPrefix(want, got) {
				t.Fatalf("gave out %q, the answer is %q", got, want)
			}
		}
		if !done {
			got += s.rest()
		}
		if got != want || done != stopped {
			t.Fatalf("%q, %v; want %q, %v", got, done, want, stopped)
		}
	})
}

// A generation that was cancelled goes on where it was.
func TestCancelledGenerationGoesOn(t *testing.T) {
	d := open(t)
	req := Request{Prompt: prompt(t, d, "the hat"), MaxTokens: 10}
	want, _ := run(t, d, req)
	g, err := d.Start(req)
	require.NoError(t, err)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var got []int32
	for i := 0; ; i++ {
		_, _, err := g.Next(gone)
		if i < len(want) {
			require.ErrorIs(t, err, context.Canceled)
		}
		p, more, err := g.Next(t.Context())
		require.NoError(t, err)
		if !more {
			break
		}
		got = append(got, p.Token)
	}
	require.Equal(t, ids(want), got)
	_, err = d.Generate(gone, req)
	require.ErrorIs(t, err, context.Canceled)
}

func TestContextIsABound(t *testing.T) {
	c := tiny.Config
	c.Context = 48
	m, err := model.Open(tiny.Model(t, c, gguf.Q8_0), model.Options{Threads: 1})
	require.NoError(t, err)
	whole := open(t)
	d := *whole
	d.Model, d.side, d.batch = m, new(atomic.Pointer[model.Side]), newBatcher(func(ctx context.Context, in []model.Input, emit func(input, token int, logits []float32) error) error {
		return m.Forward(ctx, nil, in, emit)
	})
	defer m.Close()
	vocab := int32(m.Config.Vocab)
	long := make([]int32, 50)
	for i := range long {
		long[i] = 3 + int32(i*31)%(vocab-3)
	}
	for _, bad := range [][]int32{nil, long, long[:48]} {
		_, err := d.Start(Request{Prompt: bad})
		require.ErrorIs(t, err, ErrContext)
		require.NotEmpty(t, fault.Hint(err))
	}
	for _, n := range []int{47, 40} {
		_, r := run(t, &d, Request{Prompt: long[:n]})
		if r.Finish == "length" {
			require.Equal(t, 48-n, r.Tokens)
		}
	}
	// A prompt too long for its answers is cut from the left.
	choice, err := d.Choose(t.Context(), Question{Prompt: long, Choices: []string{"yes", "no"}})
	require.NoError(t, err)
	require.Len(t, choice.Scores, 2)
	cut, err := d.Choose(t.Context(), Question{Prompt: long[50-(48-4):], Choices: []string{"yes", "no"}})
	require.NoError(t, err)
	require.Equal(t, cut, choice)
	_, err = d.Choose(t.Context(), Question{Prompt: long, Choices: []string{strings.Repeat("?", 95)}})
	require.Error(t, err, "an answer longer than the context")
}

func TestEcho(t *testing.T) {
	d := open(t)
	seq := prompt(t, d, "the hat is on")
	g, err := d.Start(Request{Prompt: seq, MaxTokens: 5, Top: 2})
	require.NoError(t, err)
	echo, err := g.Echo(t.Context())
	require.NoError(t, err)
	require.Equal(t, seq, ids(echo))
	require.True(t, math.IsNaN(float64(echo[0].LogProb)))
	lps, err := d.Model.LogProbs(t.Context(), side(t, d), []model.Ask{{Prefix: seq[:1], Answers: [][]int32{seq[1:]}}})
	require.NoError(t, err)
	for i, lp := range lps[0][0] {
		require.InDelta(t, lp, echo[i+1].LogProb, 1e-3)
		require.Len(t, echo[i+1].Top, 2)
	}
	var got []int32
	for {
		p, more, err := g.Next(t.Context())
		require.NoError(t, err)
		if !more {
			break
		}
		got = append(got, p.Token)
	}
	want, _ := run(t, d, Request{Prompt: seq, MaxTokens: 5})
	require.Equal(t, ids(want), got)
}

func TestChooseAndScore(t *testing.T) {
	d := open(t)
	row := d.Row([]float32{1, 0, 0, 1})
	qs := []Question{
		{Prompt: prompt(t, d, "one"), Choices: []string{"yes", "no", "a longer answer"}, Row: row},
		{Prompt: prompt(t, d, "another question"), Choices: []string{"on", "off"}},
	}
	scores, err := d.Score(t.Context(), qs)
	require.NoError(t, err)
	for i, q := range qs {
		c, err := d.Choose(t.Context(), q)
		require.NoError(t, err)
		require.InDeltaSlice(t, scores[i], c.Scores, 1e-4)
		require.Equal(t, Best(scores[i]), c.Index)
		require.Len(t, c.LogProbs, len(d.Form.Answer(q.Choices[c.Index])))
		require.InDelta(t, c.Scores[c.Index], model.Mean(c.LogProbs), 1e-9)
		// The score is the mean over the answer's tokens, its end included.
		for j, text := range q.Choices {
			answer := append(d.Tokenizer.Encode(text), d.Form.End)
			lps, err := d.Model.LogProbs(t.Context(), side(t, d), []model.Ask{{Prefix: q.Prompt, Answers: [][]int32{answer}, Row: q.Row}})
			require.NoError(t, err)
			require.InDelta(t, model.Mean(lps[0][0]), scores[i][j], 1e-4)
		}
	}
	_, err = d.Choose(t.Context(), Question{Prompt: qs[0].Prompt})
	require.Error(t, err)
	require.Equal(t, 1, Best([]float64{-2, -1, -1}))
	require.Zero(t, Best(nil))
}

func TestOpenChecksThePool(t *testing.T) {
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	try := func(path, digest string) (*Device, error) {
		d, err := Open(t.Context(), path, p, Options{Threads: 1, Digest: digest})
		if d != nil {
			t.Cleanup(func() { d.Close() })
		}
		return d, err
	}
	same, err := gguf.Digest(modelPath)
	require.NoError(t, err)
	for digest, warns := range map[string]bool{"": false, same: false, strings.Repeat("0", 64): true} {
		d, err := try(modelPath, digest)
		require.NoError(t, err)
		require.Equal(t, warns, d.Warning != "", d.Warning)
	}
	// Another quantisation of the same model: same vocabulary, same norms.
	other := tiny.Model(t, tiny.Config, gguf.Q4_1)
	digest, err := gguf.Digest(other)
	require.NoError(t, err)
	d, err := try(other, digest)
	if err == nil {
		require.Contains(t, d.Warning, "quantisation")
	}
	require.NoError(t, err)
	// Another model.
	c := tiny.Config
	c.FF = 128
	_, err = try(tiny.Model(t, c, gguf.Q8_0), "")
	require.Equal(t, fault.ExitVerify, fault.Code(err))
	_, err = try(tiny.Model(t, tiny.Qwen2(), gguf.Q8_0), "")
	require.Equal(t, fault.ExitVerify, fault.Code(err))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Open(gone, modelPath, p, Options{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = try(poolPath, "")
	require.Error(t, err)
}

func TestDirectionAndEffect(t *testing.T) {
	d := open(t)
	dir, err := d.Direction(t.Context(), "where is the hat")
	require.NoError(t, err)
	require.InDelta(t, 1, pool.Cosine(dir, dir), 1e-5)
	// Only the first MaxTokens tokens count.
	long := strings.Repeat("z", d.Pool.Feature.MaxTokens)
	a, err := d.Direction(t.Context(), long)
	require.NoError(t, err)
	b, err := d.Direction(t.Context(), long+" and more")
	require.NoError(t, err)
	require.Equal(t, a, b)
	_, err = d.Direction(t.Context(), "")
	require.Equal(t, fault.ExitUsage, fault.Code(err))

	effect, err := d.Effect(t.Context(), make([]float32, d.Pool.Rank()))
	require.NoError(t, err)
	require.InDelta(t, 0, effect, 1e-6)
	effect, err = d.Effect(t.Context(), d.Row([]float32{1, 0, 0, 0}))
	require.NoError(t, err)
	require.Greater(t, effect, 0.01)
	require.Nil(t, d.Row(nil))
	require.Positive(t, side(t, d).Bytes())
	require.Equal(t, d.Pool.Base.Shape.Layers*int(arch.Kinds), d.Model.Config.Slots())
}

func side(t *testing.T, d *Device) *model.Side {
	t.Helper()
	s, err := d.Side(t.Context())
	require.NoError(t, err)
	return s
}
