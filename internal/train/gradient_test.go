package train

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"crayon/internal/arch"
	"crayon/internal/reference"
)

// tiny is a model whose sizes are all different and no multiple of a vector.
func tiny(family string) arch.Config {
	return arch.Config{
		Family: family, Layers: 2, Dim: 10, Heads: 4, KVHeads: 2, HeadDim: 6, FF: 14, Vocab: 29, Context: 512,
		RopeBase: 100, RopeHalves: family == "qwen2", Eps: 1e-3, Tied: family == "llama", QKVBias: family == "qwen2",
	}
}

func random(c arch.Config, seed uint64) *reference.Weights {
	w := reference.New(c)
	rng := rand.New(rand.NewPCG(seed, 7))
	fill := func(x []float32, mean, deviation float64) {
		for i := range x {
			x[i] = float32(mean + deviation*rng.NormFloat64())
		}
	}
	fill(w.Embed, 0, 1)
	if !c.Tied {
		fill(w.Head, 0, 1)
	}
	fill(w.OutNorm, 1, 0.2)
	for i := range w.Layers {
		l := &w.Layers[i]
		fill(l.AttnNorm, 1, 0.2)
		fill(l.FFNNorm, 1, 0.2)
		for k := range l.W {
			_, in := c.Shape(arch.Kind(k))
			fill(l.W[k], 0, 1/math.Sqrt(float64(in)))
			fill(l.Bias[k], 0, 0.3)
		}
	}
	return w
}

func randomExamples(c arch.Config, adapters int, seed uint64, shapes ...[]int) []Example {
	rng := rand.New(rand.NewPCG(seed, 8))
	tokens := func(n int) []int32 {
		x := make([]int32, n)
		for i := range x {
			x[i] = rng.Int32N(int32(c.Vocab))
		}
		return x
	}
	var list []Example
	for _, s := range shapes {
		e := Example{Prompt: tokens(s[0])}
		for _, n := range s[1:] {
			e.Answers = append(e.Answers, tokens(n))
		}
		for range adapters {
			e.Weights = append(e.Weights, rng.Float32())
		}
		list = append(list, e)
	}
	return list
}

// plain64 is the whole model and loss again, in float64, one sequence at a
// time and one value at a time: it shares no code with what it checks.
type plain64 struct {
	w      *reference.Weights
	c      Config
	a, b   map[arch.Slot][]float64
	stride int
}

func (p *plain64) linear(layer int, k arch.Kind, x, row []float64) []float64 {
	c := p.w.Config
	slot := arch.SlotOf(layer, k)
	out, in := c.Shape(k)
	w, bias := p.w.Layers[layer].W[k], p.w.Layers[layer].Bias[k]
	z := make([]float64, p.stride)
	for r := range z {
		for i := range in {
			z[r] += p.a[slot][r*in+i] * x[i]
		}
		z[r] *= row[r]
	}
	y := make([]float64, out)
	for o := range y {
		for i := range in {
			y[o] += float64(w[o*in+i]) * x[i]
		}
		if bias != nil {
			y[o] += float64(bias[o])
		}
		for r := range z {
			y[o] += p.b[slot][o*p.stride+r] * z[r]
		}
	}
	return y
}

func (p *plain64) norm(x []float64, gains []float32) []float64 {
	var s float64
	for _, v := range x {
		s += v * v
	}
	s = 1 / math.Sqrt(s/float64(len(x))+float64(p.w.Config.Eps))
	y := make([]float64, len(x))
	for i := range y {
		y[i] = x[i] * s * float64(gains[i])
	}
	return y
}

func (p *plain64) rope(x []float64, pos int) {
	c := p.w.Config
	for i := range c.HeadDim / 2 {
		a, b := 2*i, 2*i+1
		if c.RopeHalves {
			a, b = i, i+c.HeadDim/2
		}
		sin, cos := math.Sincos(float64(pos) / math.Pow(float64(c.RopeBase), 2*float64(i)/float64(c.HeadDim)))
		x[a], x[b] = x[a]*cos-x[b]*sin, x[a]*sin+x[b]*cos
	}
}

// logprobs are those of every token of the sequence from the given one on.
func (p *plain64) logprobs(tokens []int32, from int, row []float64) []float64 {
	c := p.w.Config
	h := make([][]float64, len(tokens)-1)
	for t := range h {
		for i := range c.Dim {
			h[t] = append(h[t], float64(p.w.Embed[int(tokens[t])*c.Dim+i]))
		}
	}
	for l := range p.w.Layers {
		y := &p.w.Layers[l]
		keys, values := make([][]float64, len(h)), make([][]float64, len(h))
		for t := range h {
			x := p.norm(h[t], y.AttnNorm)
			q := p.linear(l, arch.Q, x, row)
			keys[t], values[t] = p.linear(l, arch.K, x, row), p.linear(l, arch.V, x, row)
			for i := range c.KVHeads {
				p.rope(keys[t][i*c.HeadDim:(i+1)*c.HeadDim], t)
			}
			o := make([]float64, c.Heads*c.HeadDim)
			for head := range c.Heads {
				qh := q[head*c.HeadDim : (head+1)*c.HeadDim]
				p.rope(qh, t)
				at := head / (c.Heads / c.KVHeads) * c.HeadDim
				s := make([]float64, t+1)
				var total float64
				for u := range s {
					for i := range qh {
						s[u] += qh[i] * keys[u][at+i]
					}
					s[u] = math.Exp(s[u] / math.Sqrt(float64(c.HeadDim)))
					total += s[u]
				}
				for u := range s {
					for i := range qh {
						o[head*c.HeadDim+i] += s[u] / total * values[u][at+i]
					}
				}
			}
			for i, v := range p.linear(l, arch.O, o, row) {
				h[t][i] += v
			}
			x = p.norm(h[t], y.FFNNorm)
			g, u := p.linear(l, arch.Gate, x, row), p.linear(l, arch.Up, x, row)
			for i := range g {
				g[i] = g[i] / (1 + math.Exp(-g[i])) * u[i]
			}
			for i, v := range p.linear(l, arch.Down, g, row) {
				h[t][i] += v
			}
		}
	}
	var list []float64
	for t := from; t < len(tokens); t++ {
		x := p.norm(h[t-1], p.w.OutNorm)
		var total, own float64
		for v := range c.Vocab {
			var s float64
			for i := range x {
				s += x[i] * float64(p.w.Head[v*c.Dim+i])
			}
			if v == int(tokens[t]) {
				own = s
			}
			total += math.Exp(s)
		}
		list = append(list, own-math.Log(total))
	}
	return list
}

// loss is the mean over the examples.
func (p *plain64) loss(examples []Example) float64 {
	var all float64
	for _, e := range examples {
		var row []float64
		for range p.c.SharedRank {
			row = append(row, float64(p.c.Scale))
		}
		for _, w := range e.Weights {
			for range p.c.Rank {
				row = append(row, float64(p.c.Scale)*float64(w))
			}
		}
		var total, first float64
		for j, a := range e.Answers {
			if j > 0 && p.c.Loss == LM {
				break
			}
			var mean float64
			for _, v := range p.logprobs(append(append([]int32(nil), e.Prompt...), a...), len(e.Prompt), row) {
				mean += v / float64(len(a))
			}
			if j == 0 {
				first = mean
			}
			total += math.Exp(p.c.RankScale * mean)
		}
		if p.c.Loss == LM {
			all -= first
		} else {
			all += math.Log(total) - p.c.RankScale*first - p.c.LMWeight*first
		}
	}
	return all / float64(len(examples))
}

func newPlain64(w *reference.Weights, c Config, p *Params) *plain64 {
	q := &plain64{w: w, c: c, a: map[arch.Slot][]float64{}, b: map[arch.Slot][]float64{}, stride: p.Stacked()}
	for s := range arch.Slot(w.Config.Slots()) {
		for _, v := range p.A(s) {
			q.a[s] = append(q.a[s], float64(v))
		}
		for _, v := range p.B(s) {
			q.b[s] = append(q.b[s], float64(v))
		}
	}
	return q
}

// gradient computes one step's gradient of random parameters, and the loss.
func gradient(t *testing.T, c Config, w *reference.Weights, examples []Example) (*Params, []float32, Tally) {
	t.Helper()
	p := NewParams(w.Config, c)
	rng := rand.New(rand.NewPCG(3, 3))
	for s := range arch.Slot(w.Config.Slots()) {
		for i, b := 0, p.B(s); i < len(b); i++ {
			b[i] = float32(rng.NormFloat64() * 0.3)
		}
	}
	var tasks []Task
	for _, e := range examples {
		tasks = append(tasks, newTask(c, p, e))
	}
	crew := newCrew(c, p, w.Fuse(p.Stacked(), p.A, p.B))
	one := schedule(c, tasks)
	if len(one) != 1 {
		t.Fatalf("%d steps, want all examples in 1", len(one))
	}
	sum, err := crew.run(context.Background(), one[0], tasks)
	if err != nil {
		t.Fatal(err)
	}
	return p, crew.total, sum
}

func TestGradientAgainstFloat64(t *testing.T) {
	for _, family := range []string{"llama", "qwen2"} {
		for _, loss := range []Loss{Ranking, LM} {
			t.Run(fmt.Sprintf("%s %s", family, loss), func(t *testing.T) {
				t.Parallel()
				w := random(tiny(family), 1)
				c := Config{Adapters: 2, Rank: 3, SharedRank: 2, Loss: loss, MicroTokens: 60, StepTokens: 500, Workers: 2}.withDefaults()
				// Prompts and answers longer than a block of queries, answers of one
				// token, one answer alone.
				examples := randomExamples(w.Config, 2, 5, []int{66, 3, 1}, []int{2, 1, 67}, []int{9, 4}, []int{1, 2, 2, 2, 2, 2})
				p, grad, sum := gradient(t, c, w, examples)
				check := newPlain64(w, c, p)
				if want := check.loss(examples); math.Abs(sum.Loss-want) > 1e-5*math.Abs(want) {
					t.Fatalf("loss %v, float64 %v", sum.Loss, want)
				}
				rng := rand.New(rand.NewPCG(9, 9))
				for s := range arch.Slot(w.Config.Slots()) {
					for name, part := range map[string]struct {
						values []float64
						grad   []float32
					}{
						"A": {check.a[s], grad[p.offsetA(s):][:len(p.A(s))]},
						"B": {check.b[s], grad[p.offsetB(s):][:len(p.B(s))]},
					} {
						var scale float64
						for _, g := range part.grad {
							scale += float64(g) * float64(g) / float64(len(part.grad))
						}
						scale = math.Sqrt(scale)
						if scale == 0 {
							t.Errorf("%s %s: no gradient", s.Tensor(), name)
						}
						for r := 0; r < 5; r += 2 { // rows of the shared adapter and of both blended ones
							i := rng.IntN(len(part.values)/p.Stacked())*p.Stacked() + r // B: column r
							if name == "A" {
								in := len(part.values) / p.Stacked()
								i = r*in + rng.IntN(in)
							}
							const h = 1e-5
							at := part.values[i]
							part.values[i] = at + h
							up := check.loss(examples)
							part.values[i] = at - h
							down := check.loss(examples)
							part.values[i] = at
							want := (up - down) / (2 * h)
							if got := float64(part.grad[i]); math.Abs(got-want) > 2e-4*(scale+math.Abs(want)) {
								t.Errorf("%s %s[%d]: %v, by differences %v", s.Tensor(), name, i, got, want)
							}
						}
					}
				}
			})
		}
	}
}
