//go:build linux && (amd64 || arm64)

package cuda

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	nv "crayon/internal/cuda"
	"crayon/internal/model"
	"crayon/internal/reference"
	"crayon/internal/train"
)

// SelfTest is what to try on a machine's GPUs.
type SelfTest struct {
	Model   string // a GGUF; "": random weights in the shape of SmolLM2-135M
	Devices int    // default 1
	Steps   []int  // tokens a step a GPU to be timed; default 8192, 16384, 32768
	Rounds  int    // steps timed of each; default 12
	Quick   bool   // leave the comparison with the processor out where the model is large

	shape    arch.Config // of the model without a file; default SmolLM2-135M's
	examples int         // of a comparison; default 48
	asks     int         // scored; default 4000
	warm     int         // steps before the clock runs; default 3
}

// How far a step's gradient may be from the processor's, as a share of its
// norm, and its loss, as a share of it: products of bfloat16 round to 8 bits,
// and the roundings of 30 layers add up. A single matrix may be further away.
const (
	tolerance     = 0.1
	lossTolerance = 0.02
)

// Run holds a step on the GPU to the processor's, on a small random model and
// on the real one, and says how fast it is.
func (t SelfTest) Run(ctx context.Context, out io.Writer) error {
	d, err := nv.Load()
	if err != nil {
		return err
	}
	n, err := d.Count()
	if err != nil {
		return err
	}
	t.Devices = max(t.Devices, 1)
	if t.Rounds <= 0 {
		t.Rounds = 12
	}
	if len(t.Steps) == 0 {
		t.Steps = []int{8192, 16384, 32768}
	}
	fmt.Fprintf(out, "CUDA %d.%d, %d GPUs, %d used\n", d.Version/1000, d.Version%1000/10, n, t.Devices)

	if t.shape.Layers == 0 {
		t.shape = arch.Config{Family: "llama", Layers: 30, Dim: 576, Heads: 9, KVHeads: 3, HeadDim: 64, FF: 1536, Vocab: 49152, Context: 8192, RopeBase: 100000, Eps: 1e-5, Tied: true}
	}
	if t.examples == 0 {
		t.examples, t.asks, t.warm = 48, 4000, 3
	}
	small := arch.Config{Family: "llama", Layers: 2, Dim: 64, Heads: 6, KVHeads: 2, HeadDim: 16, FF: 96, Vocab: 300, Context: 512, RopeBase: 10000, Eps: 1e-5, Tied: true}
	if err := t.against(ctx, out, "a small random model", randomWeights(small), t.examples); err != nil {
		return err
	}
	began := time.Now()
	var w *reference.Weights
	if t.Model == "" {
		w = randomWeights(t.shape)
	} else if w, err = read(t.Model); err != nil {
		return err
	}
	fmt.Fprintf(out, "model of %d layers in %.1f s\n", w.Config.Layers, time.Since(began).Seconds())
	if !t.Quick {
		if err := t.against(ctx, out, "the model", w, t.examples); err != nil {
			return err
		}
	}
	began = time.Now()
	e, err := open(Options{BatchTokens: 65536}, w, t.Devices)
	if err != nil {
		return err
	}
	defer e.Close()
	fmt.Fprintf(out, "%s ready in %.1f s, %d MB\n", e.Name(), time.Since(began).Seconds(), e.replicas[0].bytes>>20)
	for _, tokens := range t.Steps {
		if err := t.speed(ctx, out, e, tokens*t.Devices); err != nil {
			return err
		}
	}
	r := e.replicas[0]
	if err := r.do(func() error { return r.products(out, t.Steps[len(t.Steps)/2]) }); err != nil {
		return err
	}
	return t.scoring(ctx, out, e)
}

// config is the default pool's shape.
func (t SelfTest) config() train.Config {
	return train.Config{Adapters: 8, Rank: 8, SharedRank: 16, LearningRate: 1e-3, MicroTokens: 512, MaxTokens: 256, Seed: 1}
}

func (t SelfTest) against(ctx context.Context, out io.Writer, name string, w *reference.Weights, examples int) error {
	e, err := open(Options{}, w, t.Devices)
	if err != nil {
		return err
	}
	defer e.Close()
	began := time.Now()
	d, err := compare(ctx, t.config(), w, synthetic(w.Config.Vocab, 8, examples), e.open)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %s; %.1f s\n", name, d, time.Since(began).Seconds())
	if !(d.Whole <= tolerance && math.Abs(d.Loss-d.Reference.Loss) <= lossTolerance*math.Abs(d.Reference.Loss)) {
		fmt.Fprintf(out, "FAILED: beyond the tolerance of %g, of the loss %g\n", tolerance, lossTolerance)
	}
	return nil
}

// speed times steps of as many tokens, then prints where the time goes.
func (t SelfTest) speed(ctx context.Context, out io.Writer, e *engine, tokens int) error {
	warm := t.warm
	run := func(rounds int) (ms, examples, computed float64, err error) {
		c := t.config()
		c.StepTokens = tokens
		data := synthetic(e.weights.Config.Vocab, c.Adapters, (rounds+warm)*tokens/70+200)
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		var began time.Time
		count, sum, done := 0, 0, false
		c.Progress = func(p train.Progress) {
			switch {
			case p.Step == warm:
				began = time.Now()
			case p.Step > warm && p.Step <= warm+rounds:
				count, sum = count+p.Examples, sum+p.Tokens
			}
			if p.Step == warm+rounds {
				s := time.Since(began).Seconds()
				ms, examples, computed, done = 1e3*s/float64(rounds), float64(count)/s, float64(sum)/s, true
				stop()
			}
		}
		if _, err = e.Train(ctx, c, data); done {
			err = nil
		}
		return ms, examples, computed, err
	}
	ms, examples, computed, err := run(t.Rounds)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nsteps of %d tokens: %.2f ms a step, %.0f examples/s, %.0f tokens/s\n", tokens, ms, examples, computed)
	e.profile = out
	_, _, _, err = run(2)
	e.profile = nil
	return err
}

// scoring times LogProbs, beside a stack and without, and Features.
func (t SelfTest) scoring(ctx context.Context, out io.Writer, e *engine) error {
	c := e.weights.Config
	var asks []model.Ask
	var texts [][]int32
	tokens := 0
	for _, x := range synthetic(c.Vocab, 8, t.asks) {
		asks = append(asks, model.Ask{Prefix: x.Prompt, Answers: x.Answers})
		texts = append(texts, x.Prompt)
		tokens += len(x.Prompt)
		for _, a := range x.Answers {
			tokens += len(a) - 1
		}
	}
	p := train.NewParams(c, t.config())
	p.Scale = 2
	stack, err := adapter.NewStack(p.List(nil))
	if err != nil {
		return err
	}
	row := make([]float32, stack.Rank)
	for i := range row {
		row[i] = 0.3
	}
	for _, x := range []struct {
		name string
		f    func() error
	}{
		{"scores", func() error { _, err := e.LogProbs(ctx, nil, asks); return err }},
		{"scores beside a stack", func() error {
			for i := range asks {
				asks[i].Row = row
			}
			_, err := e.LogProbs(ctx, stack, asks)
			return err
		}},
		{"features after layer 10", func() error { _, err := e.Features(ctx, min(10, c.Layers), texts); return err }},
		{"features of the first query", func() error { _, err := e.Features(ctx, 0, texts); return err }},
	} {
		if err := x.f(); err != nil { // the buffers grow
			return err
		}
		began := time.Now()
		if err := x.f(); err != nil {
			return err
		}
		s := time.Since(began).Seconds()
		fmt.Fprintf(out, "%s: %.0f questions/s\n", x.name, float64(len(asks))/s)
	}
	return nil
}

// synthetic is examples of about 75 tokens: a prompt of about 50 and up to five
// answers.
func synthetic(vocab, adapters, n int) []train.Example {
	rng := rand.New(rand.NewPCG(1, 2))
	tokens := func(n int) []int32 {
		x := make([]int32, n)
		for i := range x {
			x[i] = rng.Int32N(int32(vocab))
		}
		return x
	}
	list := make([]train.Example, n)
	for i := range list {
		e := train.Example{Prompt: tokens(25 + rng.IntN(51))}
		for range 4 + rng.IntN(2) {
			e.Answers = append(e.Answers, tokens(2+rng.IntN(9)))
		}
		for range adapters {
			e.Weights = append(e.Weights, rng.Float32()/float32(adapters))
		}
		list[i] = e
	}
	return list
}

// randomWeights are weights of a shape, drawn fast.
func randomWeights(c arch.Config) *reference.Weights {
	w := reference.New(c)
	state := uint32(12345)
	fill := func(x []float32, deviation float64) {
		f := float32(deviation * math.Sqrt(3) / (1 << 31))
		for i := range x {
			state = state*1664525 + 1013904223
			x[i] = float32(int32(state)) * f
		}
	}
	fill(w.Embed, 0.2)
	if !c.Tied {
		fill(w.Head, 1/math.Sqrt(float64(c.Dim)))
	}
	for i := range w.Layers {
		l := &w.Layers[i]
		for k := range l.W {
			_, in := c.Shape(arch.Kind(k))
			fill(l.W[k], 1/math.Sqrt(float64(in)))
			fill(l.Bias[k], 0.3)
		}
	}
	return w
}

// profileTo is where a training's profile goes; nil: none is asked for.
func profileTo() io.Writer {
	if os.Getenv(ProfileVariable) == "" {
		return nil
	}
	return os.Stderr
}
