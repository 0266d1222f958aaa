package device

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/model"
	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
)

// passes is a model of which only the time it takes is known: a pass lasts 8 ms
// and 0.1 ms a token. A token below 0 fails the pass.
type passes struct {
	mu   sync.Mutex
	all  [][]int // of every pass, the tokens of every input
	gate chan struct{}
}

var errToken = errors.New("a bad token")

func cost(tokens int) time.Duration {
	return 8*time.Millisecond + time.Duration(tokens)*100*time.Microsecond
}

func (p *passes) run(ctx context.Context, in []model.Input, emit func(input, token int, logits []float32) error) error {
	var sizes []int
	n := 0
	for _, x := range in {
		if slices.Min(x.Tokens) < 0 {
			return errToken
		}
		sizes = append(sizes, len(x.Tokens))
		n += len(x.Tokens)
	}
	p.mu.Lock()
	p.all = append(p.all, sizes)
	p.mu.Unlock()
	if p.gate != nil {
		<-p.gate
	}
	select {
	case <-time.After(cost(n)):
	case <-ctx.Done():
		return ctx.Err()
	}
	for i, x := range in {
		for j := range x.Tokens {
			if x.Want == model.WantAll || x.Want == model.WantLast && j == len(x.Tokens)-1 {
				if err := emit(i, j, nil); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// tokensTurn is a turn of n tokens, of which the last is wanted.
func tokensTurn(b *batcher, n int, heard func(token int) error) *turn {
	return &turn{seat: b.newSeat(), wake: make(chan struct{}, 1),
		parts: []part{{Input: model.Input{Tokens: make([]int32, n), Want: model.WantLast}}},
		emit: func(_, token int, _ []float32) error {
			if heard == nil {
				return nil
			}
			return heard(token)
		}}
}

// again readies a turn for one more token.
func (t *turn) again() {
	t.parts[0].Tokens, t.parts[0].done = t.parts[0].Tokens[:1], 0
}

func TestALoneTurnGoesStraightThrough(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, true)
	calls := 0
	b := newBatcher(func(got context.Context, in []model.Input, emit func(input, token int, logits []float32) error) error {
		calls++
		if got != ctx || len(in) != 1 {
			return errors.New("not the caller's own pass")
		}
		return emit(0, len(in[0].Tokens)-1, nil)
	})
	turn := tokensTurn(b, 1, nil)
	one := func() {
		turn.again()
		if err := b.run(ctx, turn); err != nil || !turn.lone {
			t.Error(err, turn.lone)
		}
	}
	require.Zero(t, testing.AllocsPerRun(100, one))
	require.Equal(t, 101, calls)
}

func TestTextsAreCutAndTokensGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &passes{}
		b := newBatcher(p.run)
		var heard []int
		hear := func(token int) error { heard = append(heard, token); return nil }
		require.NoError(t, b.run(t.Context(), tokensTurn(b, 1000, hear)))
		require.Equal(t, [][]int{{512}, {488}}, p.all)
		require.Equal(t, []int{999}, heard)
		b.gone(b.seat.Load())

		// Two texts take turns; who wants one token is in every pass.
		p.all = nil
		var all sync.WaitGroup
		token, first, second := tokensTurn(b, 1, nil), tokensTurn(b, 300, nil), tokensTurn(b, 200, nil)
		all.Go(func() {
			for range 6 {
				token.again()
				require.NoError(t, b.run(t.Context(), token))
			}
			b.gone(token.seat)
		})
		synctest.Wait()
		for _, text := range []*turn{first, second} {
			all.Go(func() { require.NoError(t, b.run(t.Context(), text)) })
			synctest.Wait()
		}
		all.Wait()
		require.Equal(t, [][]int{{1}, {1, 128}, {1, 128}, {1, 128}, {1, 72, 44}, {1}}, p.all)
	})
}

// Who got a token in the last pass is waited for, if it returns soon.
func TestTokensGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers, each = 4, 50
		p := &passes{}
		b := newBatcher(p.run)
		start := time.Now()
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				turn := tokensTurn(b, 1, nil)
				for range each {
					turn.again()
					require.NoError(t, b.run(t.Context(), turn))
					time.Sleep(time.Duration(i+1) * 100 * time.Microsecond)
				}
				if i%2 == 0 { // the others just stay away
					b.gone(turn.seat)
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, len(p.all), each+callers)
		require.Less(t, time.Since(start), (each+callers)*(cost(callers)+time.Millisecond))
		require.Equal(t, int64(callers*each), b.together)
	})
}

// However much there is to be computed, a token waits for one pass that was
// under way before it is in one, and texts, scores and features get on too.
func TestNobodyWaitsForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatcher((&passes{}).run)
		ctx, stop := context.WithCancel(t.Context())
		var others, all sync.WaitGroup
		for range 3 { // scores without end
			others.Go(func() {
				for ctx.Err() == nil {
					in := make([]model.Input, 4)
					for i := range in {
						in[i] = model.Input{Tokens: make([]int32, 120), Want: model.WantLast}
					}
					err := b.forward(ctx, in, func(int, int, []float32) error { return nil })
					require.True(t, err == nil || ctx.Err() != nil)
				}
			})
		}
		var turns int
		others.Go(func() { // features without end
			for ctx.Err() == nil {
				if b.exclusive(ctx, func() error { time.Sleep(cost(512)); return nil }) == nil {
					turns++
				}
			}
		})
		most := make([]time.Duration, 3)
		for i := range most {
			all.Go(func() {
				turn := tokensTurn(b, 1, nil)
				for range 40 {
					turn.again()
					start := time.Now()
					require.NoError(t, b.run(t.Context(), turn))
					most[i] = max(most[i], time.Since(start))
				}
				b.gone(turn.seat)
			})
		}
		start := time.Now()
		all.Go(func() { require.NoError(t, b.run(t.Context(), tokensTurn(b, 2000, nil))) })
		all.Wait()
		took := time.Since(start)
		stop()
		others.Wait()
		// The one under way, and a turn alone that came before.
		require.LessOrEqual(t, slices.Max(most), 2*cost(512)+2*greatestWait+cost(128+3+20))
		require.Greater(t, turns, int(took/(8*cost(512))))
		require.Less(t, took, 64*cost(512))
	})
}

func TestAFaultIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &passes{gate: make(chan struct{})}
		b := newBatcher(p.run)
		errs := make([]error, 5)
		turns := make([]*turn, 5)
		var all sync.WaitGroup
		for i := range turns {
			turns[i] = tokensTurn(b, 40, func(int) error {
				if i == 3 {
					return errGone
				}
				return nil
			})
			if i == 2 {
				turns[i].parts[0].Tokens[7] = -1
			}
			all.Go(func() { errs[i] = b.run(t.Context(), turns[i]) })
			synctest.Wait()
		}
		close(p.gate)
		all.Wait()
		require.Equal(t, []error{nil, nil, errToken, errGone, nil}, errs)
		require.Zero(t, turns[2].parts[0].done)
		require.Zero(t, turns[4].left())
		// The first was on its way; the others were tried together, then each alone.
		require.Equal(t, [][]int{{40}, {40}, {40}, {40}}, p.all)
	})
}

var errGone = errors.New("the reader is gone")

func TestCancelledTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &passes{gate: make(chan struct{})}
		b := newBatcher(p.run)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		start := func(ctx context.Context, n int) (*turn, *error) {
			turn, err := tokensTurn(b, n, nil), new(error)
			all.Go(func() { *err = b.run(ctx, turn) })
			synctest.Wait()
			return turn, err
		}
		lead, leadErr := start(t.Context(), 1)
		text, textErr := start(ctx, 2000)
		quits, quitsErr := start(ctx, 1)
		last, lastErr := start(t.Context(), 1)
		p.gate <- struct{}{} // lead's pass goes on, the next begins: text leads it
		time.Sleep(time.Second)
		synctest.Wait()
		require.Zero(t, lead.left())
		late, lateErr := start(ctx, 1)
		cancel()
		synctest.Wait()
		require.Equal(t, context.Canceled, *lateErr, "it was waiting")
		require.Equal(t, 1, late.left())
		require.NoError(t, *textErr)
		p.gate <- struct{}{}
		all.Wait()
		require.NoError(t, *leadErr)
		require.NoError(t, *quitsErr, "its token was being computed")
		require.Zero(t, quits.left())
		require.NoError(t, *lastErr)
		require.Zero(t, last.left())
		require.Equal(t, context.Canceled, *textErr)
		require.Equal(t, 128, text.parts[0].done)
		require.Equal(t, [][]int{{1}, {1, 1, 128}}, p.all)
		// It goes on where it was.
		p.gate = nil
		require.NoError(t, b.run(t.Context(), text))
		require.Equal(t, [][]int{{128}, {512}}, p.all[2:4], "the others could have come back")
		require.Zero(t, text.left())
		require.Equal(t, context.Canceled, b.run(ctx, tokensTurn(b, 1, nil)))
		require.Nil(t, b.leader)
		require.Empty(t, b.queue)
	})
}

// A pass that panics leaves nobody waiting.
func TestAPanicFreesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &passes{gate: make(chan struct{})}
		n := 0
		b := newBatcher(func(ctx context.Context, in []model.Input, emit func(input, token int, logits []float32) error) error {
			if n++; n == 2 {
				panic("a bug")
			}
			return p.run(ctx, in, emit)
		})
		var all sync.WaitGroup
		errs := make([]error, 3)
		for i := range errs {
			all.Go(func() {
				defer func() {
					if r := recover(); r != nil {
						errs[i] = fmt.Errorf("panic: %v", r)
					}
				}()
				errs[i] = b.run(t.Context(), tokensTurn(b, 1, nil))
			})
			synctest.Wait()
		}
		close(p.gate)
		all.Wait()
		require.NoError(t, errs[0])
		require.EqualError(t, errs[1], "panic: a bug")
		require.Equal(t, error(errUnfinished), errs[2])
		require.NoError(t, b.run(t.Context(), tokensTurn(b, 1, nil)))
	})
}

// job is an answer to be made, with the places where it is disturbed.
type job struct {
	req    Request
	echo   bool
	cancel []bool // by token: the first try is cancelled at some time
	yields int
	want   []Piece
	prompt []Piece // of Echo
	text   string
}

func (j *job) run(ctx context.Context, d *Device, disturb bool) (pieces, echo []Piece, r Result, err error) {
	g, err := d.Start(j.req)
	if err != nil {
		return nil, nil, r, err
	}
	if j.echo {
		if disturb && j.cancel[0] {
			j.cancelled(ctx, func(ctx context.Context) { g.Echo(ctx) })
		}
		if echo, err = g.Echo(ctx); err != nil {
			return nil, nil, r, err
		}
	}
	for i := 0; ; i++ {
		if disturb && i < len(j.cancel) && j.cancel[i] {
			gone := false
			j.cancelled(ctx, func(ctx context.Context) {
				p, more, err := g.Next(ctx)
				if gone = err != nil; !gone && more {
					pieces = append(pieces, p)
				}
			})
			if !gone {
				continue
			}
		}
		p, more, err := g.Next(ctx)
		if err != nil || !more {
			return pieces, echo, g.Result(), err
		}
		pieces = append(pieces, p)
	}
}

// cancelled calls f with a context that is cancelled at about that time.
func (j *job) cancelled(ctx context.Context, f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for range j.yields {
			runtime.Gosched()
		}
		cancel()
	})
	f(ctx)
	cancel()
	done.Wait()
}

// Answers made together, in whatever order, with others cancelled, scored and
// measured beside them, with and without a prefix cache, are those made alone,
// bit for bit.
func TestAnswersTogetherAreThoseAlone(t *testing.T) {
	alone, plain, cached := open(t), open(t), openWith(t, Options{Threads: 2, PrefixCache: 200_000})
	rows := [][]float32{nil, alone.Row([]float32{0.5, 0.25, 0.25, 1}), alone.Row([]float32{0, 1, 0, 1}), alone.Row([]float32{1, 0, 0, 0})}
	vocab := int32(alone.Model.Config.Vocab)
	texts := rapid.Custom(func(t *rapid.T) []int32 {
		n := rapid.OneOf(rapid.IntRange(1, 40), rapid.IntRange(1, 600)).Draw(t, "tokens")
		ids, seed := make([]int32, n), rapid.IntRange(0, 3).Draw(t, "text")
		for i := range ids {
			ids[i] = int32(i*31*(seed+1)+seed) % vocab
		}
		return ids
	})
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom([]*Device{plain, cached}).Draw(t, "device")
		jobs := make([]*job, rapid.IntRange(1, 6).Draw(t, "jobs"))
		tokens, whole := 0, d == plain
		for i := range jobs {
			j := &job{echo: rapid.IntRange(0, 5).Draw(t, "echo") == 0, yields: rapid.IntRange(0, 300).Draw(t, "yields")}
			j.req = Request{Prompt: texts.Draw(t, "prompt"), Row: rapid.SampledFrom(rows).Draw(t, "row"), MaxTokens: rapid.IntRange(1, 8).Draw(t, "max"), Top: rapid.IntRange(0, 2).Draw(t, "top")}
			j.req.Sampling = model.Sampling{Temperature: rapid.SampledFrom([]float64{0, 1, 5}).Draw(t, "temperature"), Seed: rapid.Uint64().Draw(t, "seed")}
			j.cancel = make([]bool, j.req.MaxTokens)
			for k := range j.cancel {
				j.cancel[k] = rapid.IntRange(0, 4).Draw(t, "cancel") == 0
				whole = whole && !j.cancel[k]
			}
			var r Result
			var err error
			if j.want, j.prompt, r, err = j.run(context.Background(), alone, false); err != nil {
				t.Fatal(err)
			}
			j.text = r.Text
			tokens += len(j.req.Prompt) + len(j.want) - 1
			jobs[i] = j
		}
		var qs []Question
		var directions [][]float32
		var scores [][]float64
		if rapid.Bool().Draw(t, "scored") {
			whole = false
			for range rapid.IntRange(1, 5).Draw(t, "questions") {
				qs = append(qs, Question{Prompt: texts.Draw(t, "question"), Choices: []string{"yes", "no", "a longer answer"}, Row: rapid.SampledFrom(rows).Draw(t, "row")})
			}
			var err error
			if scores, err = alone.Score(context.Background(), qs); err != nil {
				t.Fatal(err)
			}
			if directions, err = alone.Directions(context.Background(), []string{"where", "is the hat"}); err != nil {
				t.Fatal(err)
			}
		}

		before := d.Model.Computed()
		var all sync.WaitGroup
		bad := make([]string, len(jobs)+1)
		for i, j := range jobs {
			all.Go(func() {
				pieces, echo, r, err := j.run(context.Background(), d, true)
				switch {
				case err != nil:
					bad[i] = err.Error()
				case !same(pieces, j.want) || !same(echo, j.prompt) || r.Text != j.text || r.Tokens != len(j.want):
					bad[i] = fmt.Sprintf("job %d: %v %v; want %v %v", i, pieces, echo, j.want, j.prompt)
				}
			})
		}
		all.Go(func() {
			for i, q := range qs {
				c, err := d.Choose(context.Background(), q)
				if err != nil || !slices.Equal(c.Scores, scores[i]) {
					bad[len(jobs)] = fmt.Sprintf("question %d: %v, %v; want %v", i, c.Scores, err, scores[i])
				}
			}
			if got, err := d.Score(context.Background(), qs); err != nil || !slices.EqualFunc(got, scores, slices.Equal) {
				bad[len(jobs)] = fmt.Sprintf("scores %v, %v; want %v", got, err, scores)
			}
			for i := range directions {
				got, err := d.Directions(context.Background(), []string{"where", "is the hat"})
				if err != nil || !slices.Equal(got[i], directions[i]) {
					bad[len(jobs)] = fmt.Sprintf("direction %d: %v", i, err)
				}
			}
		})
		all.Wait()
		for _, b := range bad {
			if b != "" {
				t.Fatal(b)
			}
		}
		if n := d.Model.Computed() - before; whole && n != int64(tokens) {
			t.Fatalf("%d tokens went through the layers, %d are there", n, tokens)
		}
	})
	// Whatever was drawn above, a prefix is met again and answers share passes.
	for range 2 {
		again := job{req: Request{Prompt: make([]int32, 200), MaxTokens: 2}}
		_, _, _, err := again.run(t.Context(), cached, false)
		require.NoError(t, err)
	}
	var together sync.WaitGroup
	for range 6 {
		together.Go(func() {
			j := job{req: Request{Prompt: make([]int32, 20), MaxTokens: 64}}
			if _, _, _, err := j.run(context.Background(), plain, false); err != nil {
				t.Error(err)
			}
		})
	}
	together.Wait()
	require.Positive(t, cached.Stats().Prefix.Hits)
	s := plain.Stats()
	t.Logf("%.2f turns a pass; %+v", float64(s.Turns)/float64(s.Passes), cached.Stats().Prefix)
	require.Greater(t, s.Turns, s.Passes)
}

func same(a, b []Piece) bool {
	return slices.EqualFunc(a, b, func(x, y Piece) bool {
		return x.Token == y.Token && math.Float32bits(x.LogProb) == math.Float32bits(y.LogProb) && x.Text == y.Text && slices.Equal(x.Top, y.Top)
	})
}

// A lone answer pays nothing for the batching: what a token allocates is what
// the pass allocates, and the token's text.
func TestDecodingAllocatesLittle(t *testing.T) {
	if underRace {
		t.Skip("the race detector makes pools of memory drop what they hold")
	}
	d := open(t)
	const few = 40
	ids := prompt(t, d, "the hat")
	cache := d.Model.NewCache(256)
	in := []model.Input{{Cache: cache, Tokens: ids, Row: d.Row([]float32{1, 0, 0, 1}), Want: model.WantLast}}
	bare := testing.AllocsPerRun(few, func() {
		require.NoError(t, d.Model.Forward(t.Context(), side(t, d), in, func(int, int, []float32) error { return nil }))
		in[0].Tokens = ids[:1]
	})
	g, err := d.Start(Request{Prompt: ids, Row: in[0].Row, Sampling: model.Sampling{Temperature: 3, TopK: 40, Seed: 5}})
	require.NoError(t, err)
	g.ends = nil // go on
	_, _, err = g.Next(t.Context())
	require.NoError(t, err)
	n := testing.AllocsPerRun(few, func() {
		_, more, err := g.Next(t.Context())
		require.True(t, more && err == nil)
	})
	t.Logf("%.0f allocations a token, %.0f of them by the pass", n, bare)
	require.LessOrEqual(t, n, bare+3)
}

// BenchmarkBatch decodes under different customisations at once, with the model
// of CRAYON_TEST_MODEL and the pool of the program where that is set, else with
// the tiny one.
func BenchmarkBatch(b *testing.B) {
	modelPath, poolPath := os.Getenv("CRAYON_TEST_MODEL"), filepath.Join("..", "..", "pool", "default.crayon")
	if modelPath == "" {
		modelPath, poolPath = tiny.Tiny(b)
	}
	p, err := pool.Open(poolPath)
	require.NoError(b, err)
	d, err := Open(b.Context(), modelPath, p, Options{})
	require.NoError(b, err)
	defer d.Close()
	ids, err := d.Form.Prompt("Why does the wheel wobble?")
	require.NoError(b, err)
	for _, n := range []int{1, 4} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			before := d.Stats()
			const tokens = 64
			made := 0
			for b.Loop() {
				var all sync.WaitGroup
				for i := range n {
					members := make([]float32, len(d.Pool.Members))
					for j := range members {
						members[j] = float32((i+j)%4) / 4
					}
					all.Go(func() {
						g, err := d.Start(Request{Prompt: ids, Row: d.Row(members), MaxTokens: tokens})
						if err != nil {
							b.Error(err)
							return
						}
						g.ends = nil // as many tokens each time
						for range tokens {
							if _, _, err := g.Next(b.Context()); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
				made += n * tokens
			}
			s := d.Stats()
			b.ReportMetric(float64(made)/b.Elapsed().Seconds(), "tokens/s")
			b.ReportMetric(float64(s.Turns-before.Turns)/float64(s.Passes-before.Passes), "turns/pass")
		})
	}
}
