//go:build linux && (amd64 || arm64)

package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/arch"
	nv "crayon/internal/cuda"
	"crayon/internal/kernel"
	"crayon/internal/reference"
	"crayon/internal/train"
)

// bench is a replica with random numbers to run single kernels on.
type bench struct {
	*replica
	t   *testing.T
	rng *rand.Rand
}

// each runs f for both tiny shapes, on the replica's thread.
func each(t *testing.T, f func(b *bench)) {
	for _, family := range []string{"llama", "qwen2"} {
		t.Run(family, func(t *testing.T) {
			e := soft(t, Options{}, reference.New(tiny(family)), 1)
			r := e.replicas[0]
			require.NoError(t, r.do(func() error {
				f(&bench{r, t, rand.New(rand.NewPCG(1, 9))})
				return nil
			}))
		})
	}
}

func (b *bench) floats(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(b.rng.NormFloat64())
	}
	return x
}

// halves are random values that bfloat16 holds exactly.
func (b *bench) halves(n int) []float32 {
	x := b.floats(n)
	for i := range x {
		x[i] = math.Float32frombits(uint32(rounded(x[i])) << 16)
	}
	return x
}

// rounded is x in bfloat16, to nearest, ties to even.
func rounded(x float32) uint16 {
	u := math.Float32bits(x)
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// up copies x to the GPU in float32, or in bfloat16.
func (b *bench) up(x []float32) nv.Ptr {
	p, err := upload(b.replica, x, four)
	require.NoError(b.t, err)
	return p
}

func (b *bench) up16(x []float32) nv.Ptr {
	y := make([]uint16, len(x))
	for i, v := range x {
		y[i] = rounded(v)
	}
	p, err := upload(b.replica, y, two)
	require.NoError(b.t, err)
	return p
}

func (b *bench) ints(x ...int32) nv.Ptr {
	p, err := upload(b.replica, x, four)
	require.NoError(b.t, err)
	return p
}

func (b *bench) down(p nv.Ptr, n int) []float32 {
	x := make([]float32, n)
	require.NoError(b.t, nv.Download(b.stream, x, p))
	return x
}

func (b *bench) down16(p nv.Ptr, n int) []float32 {
	y := make([]uint16, n)
	require.NoError(b.t, nv.Download(b.stream, y, p))
	x := make([]float32, n)
	for i, v := range y {
		x[i] = math.Float32frombits(uint32(v) << 16)
	}
	return x
}

// near holds values in bfloat16 to what they should be: half a unit in the last
// of 8 bits, and what float32 sums in another order.
func (b *bench) near(want, got []float32, what string, args ...any) {
	b.t.Helper()
	require.Len(b.t, got, len(want))
	for i := range want {
		if d := math.Abs(float64(want[i]) - float64(got[i])); !(d <= math.Abs(float64(want[i]))/250+1e-5) {
			b.t.Fatalf("%s: value %d is %v, want %v", fmt.Sprintf(what, args...), i, got[i], want[i])
		}
	}
}

func (b *bench) exact(want, got []float32, what string) {
	b.t.Helper()
	require.Len(b.t, got, len(want))
	for i := range want {
		if d := math.Abs(float64(want[i]) - float64(got[i])); !(d <= 2e-5*(1+math.Abs(float64(want[i])))) {
			b.t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// column cuts columns out of rows of ld values.
func column(x []float32, ld, from, to int) []float32 {
	var y []float32
	for i := 0; i < len(x); i += ld {
		y = append(y, x[i+from:i+to]...)
	}
	return y
}

func norms(c arch.Config, x, gain []float32) []float32 {
	y := make([]float32, len(x))
	for i := 0; i < len(x); i += c.Dim {
		kernel.RMSNorm(y[i:i+c.Dim], x[i:i+c.Dim], gain, c.Eps)
	}
	return y
}

// normGrad is the reverse of norms, in float64.
func normGrad(c arch.Config, x, dy, gain []float32) []float32 {
	dx := make([]float32, len(x))
	for i := 0; i < len(x); i += c.Dim {
		var squares, dot float64
		for j := range c.Dim {
			squares += float64(x[i+j]) * float64(x[i+j])
			dot += float64(x[i+j]) * float64(dy[i+j]) * float64(gain[j])
		}
		r := 1 / math.Sqrt(squares/float64(c.Dim)+float64(c.Eps))
		for j := range c.Dim {
			dx[i+j] = float32(r*float64(dy[i+j])*float64(gain[j]) - float64(x[i+j])*dot*r*r*r/float64(c.Dim))
		}
	}
	return dx
}

func plus(a, b []float32) []float32 {
	c := append([]float32(nil), a...)
	kernel.Add(c, b)
	return c
}

func TestRowKernels(t *testing.T) {
	each(t, func(b *bench) {
		c, require := b.config, require.New(t)
		d, ff := c.Dim, c.FF
		for _, n := range []int{1, 9} {
			x, y, gain := b.floats(n*d), b.halves(n*d), b.floats(d)
			ld := d + 16
			sum, out := b.up(b.floats(n*d)), b.up16(b.floats(n*ld))
			require.NoError(b.launch("add_norm", 32*n, b.up(x), b.up16(y), sum, b.up(gain), out, int32(ld), int32(n)))
			b.exact(plus(x, y), b.down(sum, n*d), "sum")
			b.near(norms(c, plus(x, y), gain), column(b.down16(out, n*ld), ld, 0, d), "norm of %d rows", n)

			dr := b.floats(n * d)
			pdr := b.up(dr)
			require.NoError(b.launch("norm_grad", 32*n, b.up(x), b.up16(y), b.up(gain), pdr, out, int32(ld), int32(n)))
			want := plus(dr, normGrad(c, x, y, gain))
			b.exact(want, b.down(pdr, n*d), "gradient through the norm")
			b.near(want, column(b.down16(out, n*ld), ld, 0, d), "the same, rounded")

			// The rows that predict, and the start of the reverse.
			rows, place := []int32{}, make([]int32, n)
			for i := range place {
				place[i] = -1
				if i%3 == 0 {
					place[i] = int32(len(rows))
					rows = append(rows, int32(i))
				}
			}
			m := len(rows)
			picked, dy := b.up16(b.floats(m*d)), b.floats(m*d)
			require.NoError(b.launch("pick_norm", 32*m, b.up(x), b.ints(rows...), b.up(gain), picked, int32(m)))
			var some []float32
			for _, r := range rows {
				some = append(some, x[int(r)*d:(int(r)+1)*d]...)
			}
			b.near(norms(c, some, gain), b.down16(picked, m*d), "picked rows")
			require.NoError(b.launch("head_grad", 32*n, b.up(x), b.ints(place...), b.up(dy), b.up(gain), pdr, out, int32(ld), int32(n)))
			want = make([]float32, n*d)
			for i, g := 0, normGrad(c, some, dy, gain); i < m; i++ {
				copy(want[int(rows[i])*d:], g[i*d:(i+1)*d])
			}
			b.exact(want, b.down(pdr, n*d), "the residual's first gradient")
			b.near(want, column(b.down16(out, n*ld), ld, 0, d), "the same, rounded")

			// Low-rank values by the weights of each token's tree.
			const rank, kinds = 16, 3
			z, weights, tree := b.halves(n*(8+rank*kinds)), b.floats(2*rank), make([]int32, n)
			for i := range tree {
				tree[i] = int32(i % 2)
			}
			pz := b.up16(z)
			require.NoError(b.launch("weigh", n*rank*kinds/8, at(pz, 8, two), int32(8+rank*kinds), int32(rank*kinds), int32(rank), b.ints(tree...), b.up(weights), int32(n)))
			for i := range n {
				for j := range rank * kinds {
					z[i*(8+rank*kinds)+8+j] *= weights[int(tree[i])*rank+j%rank]
				}
			}
			b.near(z, b.down16(pz, len(z)), "weighted values")

			gu, dact := b.halves(n*2*ff), b.halves(n*ff)
			act := b.up16(b.floats(n * (ff + 8)))
			require.NoError(b.launch("activate", n*ff/8, b.up16(gu), act, int32(ff+8), int32(n)))
			dgu := b.up16(b.floats(n * (2*ff + 8)))
			require.NoError(b.launch("activate_grad", n*ff/8, b.up16(gu), b.up16(dact), dgu, int32(2*ff+8), int32(n)))
			var wantAct, wantGrad []float32
			for i := range n {
				gate, up := gu[2*i*ff:(2*i+1)*ff], gu[(2*i+1)*ff:(2*i+2)*ff]
				grad := make([]float32, 2*ff)
				for j := range ff {
					g, u, dy := float64(gate[j]), float64(up[j]), float64(dact[i*ff+j])
					s := 1 / (1 + math.Exp(-g))
					wantAct = append(wantAct, float32(g*s*u))
					grad[j], grad[ff+j] = float32(dy*u*(s+g*s*(1-s))), float32(dy*g*s)
				}
				wantGrad = append(wantGrad, grad...)
			}
			b.near(wantAct, column(b.down16(act, n*(ff+8)), ff+8, 0, ff), "activation")
			b.near(wantGrad, column(b.down16(dgu, n*(2*ff+8)), 2*ff+8, 0, 2*ff), "gradient of the activation")

			// Biases and rotation.
			heads := c.Heads + 2*c.KVHeads
			width, half := heads*c.HeadDim, c.HeadDim/2
			require.NoError(b.angles(5))
			cos, sin := b.down(b.cos, 5*half), b.down(b.sin, 5*half)
			qkv, bias, position := b.halves(n*width), b.floats(width), make([]int32, n)
			for i := range position {
				position[i] = int32((i * 3) % 5)
			}
			var pbias nv.Ptr
			if c.QKVBias {
				pbias = b.up(bias)
			}
			p := b.up16(qkv)
			require.NoError(b.launch("rotate", n*width/16, p, pbias, b.ints(position...), b.cos, b.sin, int32(n)))
			for i := range n {
				row := qkv[i*width : (i+1)*width]
				if c.QKVBias {
					kernel.Add(row, bias)
				}
				pos := int(position[i])
				for h := range c.Heads + c.KVHeads {
					kernel.Rope(row[h*c.HeadDim:(h+1)*c.HeadDim], cos[pos*half:(pos+1)*half], sin[pos*half:(pos+1)*half], c.RopeHalves)
				}
			}
			b.near(qkv, b.down16(p, n*width), "rotated q, k, v")

			// Means over texts.
			first, count := []int32{0, int32(n / 2)}, []int32{int32(max(n/2, 1)), int32(n - n/2)}
			mean := b.up(b.floats(2 * d))
			for _, normed := range []bool{false, true} {
				from, pgain := x, nv.Ptr(0)
				if normed {
					from, pgain = norms(c, x, gain), b.up(gain)
				}
				require.NoError(b.launch("mean_rows", 64, b.up(x), b.ints(first...), b.ints(count...), pgain, mean, int32(2)))
				want := make([]float32, 2*d)
				for k := range 2 {
					for i := first[k]; i < first[k]+count[k]; i++ {
						kernel.Axpy(1/float32(count[k]), from[int(i)*d:(int(i)+1)*d], want[k*d:(k+1)*d])
					}
				}
				b.exact(want, b.down(mean, 2*d), "mean")
			}
		}
	})
}

// TestAttentionKernels holds attention and its reverse to float64, over trees
// longer than a tile.
func TestAttentionKernels(t *testing.T) {
	each(t, func(b *bench) {
		c, require := b.config, require.New(t)
		hd, rep := c.HeadDim, c.Heads/c.KVHeads
		qd, kd := c.Heads*hd, c.KVHeads*hd
		width, half := qd+2*kd, hd/2
		var trees []tree
		for _, x := range randomExamples(c.Vocab, 0, 3, []int{70, 3, 1}, []int{2, 1, 67}, []int{1, 2, 2, 2}, []int{1}) {
			s := tree{shape: reference.Branches{Prefix: x.Prompt}, answers: x.Answers}
			for _, a := range x.Answers {
				s.shape.Branch = append(s.shape.Branch, a[:len(a)-1])
			}
			trees = append(trees, s)
		}
		var l layout
		lay := l.add(trees, 8, rep, 1000)
		require.NoError(b.send(&arena{}, &l, lay))
		require.NoError(b.angles(lay.longest))
		n := lay.tokens
		qkv, dy := b.halves(n*width), b.halves(n*qd)
		shared, own, position := l.numbers[lay.place[fieldShared]:], l.numbers[lay.place[fieldOwn]:], l.numbers[lay.place[fieldPosition]:]
		first := make([]int, n) // of the token's tree
		for i := range n {
			tree := l.numbers[lay.place[fieldTree]+i]
			first[i] = int(l.numbers[lay.place[fieldFirst]+int(tree)])
		}

		const pad = 8
		po, plse := b.up16(b.floats(n*(qd+pad))), b.up(b.floats(n*c.Heads))
		pq, pdy := b.up16(qkv), b.up16(dy)
		grid := func(tiles int) [3]uint32 { return [3]uint32{uint32(tiles), uint32(c.KVHeads), 1} }
		require.NoError(b.grid("attend", grid(lay.tiles), 128, pq, lay.at(fieldTiles, 0), lay.at(fieldShared, 0), lay.at(fieldOwn, 0), po, int32(qd+pad), plse))
		got := column(b.down16(po, n*(qd+pad)), qd+pad, 0, qd)
		lse := b.down(plse, n*c.Heads)
		// The reverse gets exact values of the forward pass.
		o, dq, dk, dv := make([]float64, n*qd), make([]float64, n*qd), make([]float64, n*kd), make([]float64, n*kd)
		scale := 1 / math.Sqrt(float64(hd))
		for i := range n {
			for h := range c.Heads {
				q, g := qkv[i*width+h*hd:], dy[i*qd+h*hd:]
				kv := h / rep
				var keys []int
				for j := first[i]; j <= i; j++ {
					if j < int(shared[i]) || j >= int(own[i]) {
						keys = append(keys, j)
					}
				}
				p, dp := make([]float64, len(keys)), make([]float64, len(keys))
				var sum, mean float64
				for k, j := range keys {
					for e := range hd {
						p[k] += float64(q[e]) * float64(qkv[j*width+qd+kv*hd+e])
						dp[k] += float64(g[e]) * float64(qkv[j*width+qd+kd+kv*hd+e])
					}
					p[k] = math.Exp(p[k] * scale)
					sum += p[k]
				}
				require.InDelta(math.Log(sum), lse[i*c.Heads+h], 1e-4)
				for k := range keys {
					p[k] /= sum
					mean += p[k] * dp[k]
				}
				for k, j := range keys {
					ds := p[k] * (dp[k] - mean) * scale
					for e := range hd {
						o[i*qd+h*hd+e] += p[k] * float64(qkv[j*width+qd+kd+kv*hd+e])
						dq[i*qd+h*hd+e] += ds * float64(qkv[j*width+qd+kv*hd+e])
						dk[j*kd+kv*hd+e] += ds * float64(q[e])
						dv[j*kd+kv*hd+e] += p[k] * float64(g[e])
					}
				}
			}
		}
		b.alike(o, got, "attention")

		// What rotate did is undone: turn by the other way about.
		cos, sin := b.down(b.cos, lay.longest*half), b.down(b.sin, lay.longest*half)
		for i := range sin {
			sin[i] = -sin[i]
		}
		back := func(x []float64, heads int) {
			for i := range n {
				pos := int(position[i])
				for h := range heads {
					row := x[(i*heads+h)*hd : (i*heads+h+1)*hd]
					y := make([]float32, hd)
					for e, v := range row {
						y[e] = float32(v)
					}
					kernel.Rope(y, cos[pos*half:(pos+1)*half], sin[pos*half:(pos+1)*half], c.RopeHalves)
					for e, v := range y {
						row[e] = float64(v)
					}
				}
			}
		}
		back(dq, c.Heads)
		back(dk, c.KVHeads)
		pdot, ldd := b.up(b.floats(n*c.Heads)), width+24
		pd := b.up16(b.floats(n * ldd))
		require.NoError(b.launch("attend_dot", n*c.Heads, po, int32(qd+pad), pdy, pdot, int32(n)))
		for name, x := range map[string]struct{ field, tiles int }{"attend_dq": {fieldTiles, lay.tiles}, "attend_dkv": {fieldKeyTiles, lay.keyTiles}} {
			require.NoError(b.grid(name, grid(x.tiles), 128, pq, pdy, lay.at(x.field, 0), lay.at(fieldShared, 0), lay.at(fieldOwn, 0), plse, pdot, lay.at(fieldPosition, 0), b.cos, b.sin, pd, int32(ldd)))
		}
		all := b.down16(pd, n*ldd)
		b.alike(dq, column(all, ldd, 0, qd), "gradient of q")
		b.alike(dk, column(all, ldd, qd, qd+kd), "gradient of k")
		b.alike(dv, column(all, ldd, qd+kd, width), "gradient of v")
	})
}

// alike holds sums of products of rounded values to exact ones.
func (b *bench) alike(want []float64, got []float32, what string) {
	b.t.Helper()
	require.Len(b.t, got, len(want))
	var size float64
	for _, v := range want {
		size += v * v / float64(len(want))
	}
	size = math.Sqrt(size)
	for i := range want {
		if d := math.Abs(want[i] - float64(got[i])); !(d <= 0.03*(size+math.Abs(want[i]))) {
			b.t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestHeadKernels(t *testing.T) {
	each(t, func(b *bench) {
		c, require := b.config, require.New(t)
		v, ld := c.Vocab, ldLogits(c)
		var trees []tree
		for _, x := range randomExamples(c.Vocab, 0, 3, []int{2, 3, 1}, []int{2, 1, 6, 1}, []int{1, 2}, []int{1, 1, 1, 1}) {
			s := tree{shape: reference.Branches{Prefix: x.Prompt}, answers: x.Answers}
			for _, a := range x.Answers {
				s.shape.Branch = append(s.shape.Branch, a[:len(a)-1])
			}
			trees = append(trees, s)
		}
		trees[3].answers[1][0] = trees[3].answers[0][0] // two answers begin alike
		var l layout
		lay := l.add(trees, 8, 1, 1000)
		require.NoError(b.send(&arena{}, &l, lay))
		logits := b.floats(lay.rows * ld)
		for i := range logits {
			logits[i] *= 3
		}
		pl, plse, plp := b.up(logits), b.up(b.floats(lay.rows)), b.up(b.floats(lay.targets))
		require.NoError(b.grid("row_lse", [3]uint32{uint32(lay.rows), 1, 1}, 256, pl, int32(ld), plse))
		require.NoError(b.launch("target_logprob", lay.targets, pl, int32(ld), plse, lay.at(fieldTargetRow, 0), lay.at(fieldTargetID, 0), int32(0), plp, int32(lay.targets)))
		lse, lp := b.down(plse, lay.rows), b.down(plp, lay.targets)
		number := func(field, i int) int { return int(l.numbers[lay.place[field]+i]) }
		for i := range lse {
			require.InDelta(kernel.LogSumExp(logits[i*ld:i*ld+v]), lse[i], 1e-4)
		}
		for i := range lp {
			row := number(fieldTargetRow, i)
			require.InDelta(logits[row*ld+number(fieldTargetID, i)]-lse[row], lp[i], 1e-4)
		}
		for _, loss := range []train.Loss{train.Ranking, train.LM} {
			ranking := int32(0)
			if loss == train.Ranking {
				ranking = 1
			}
			const scale, lm, share = 4, 0.3, 0.25
			scores, err := b.take(lay.answers, 8)
			require.NoError(err)
			out, err := b.take(3*lay.examples, 8)
			require.NoError(err)
			slopes, pd := b.up(b.floats(lay.answers)), b.up16(b.floats(lay.rows*ld))
			require.NoError(b.launch("losses", lay.examples, lay.at(fieldAnswers, 0), lay.at(fieldTargets, 0), plp, scores, slopes, out, ranking, float32(scale), float32(lm), float32(share), int32(lay.examples)))
			sum := b.up(make([]float32, 3))
			require.NoError(b.grid("tally", [3]uint32{1, 1, 1}, 256, out, sum, int32(lay.examples)))
			require.NoError(b.grid("logit_grad", [3]uint32{uint32(lay.rows), 1, 1}, 256, pl, int32(ld), plse, lay.at(fieldRowTargets, 0), lay.at(fieldList, 0), lay.at(fieldTargetID, 0), lay.at(fieldTargetOf, 0), slopes, int32(0), pd))
			var total, ranked, right float64
			grad := make([]float64, lay.rows*v)
			for i := range lay.examples {
				var mean []float64
				for a := number(fieldAnswers, i); a < number(fieldAnswers, i+1); a++ {
					var s float64
					first, last := number(fieldTargets, a), number(fieldTargets, a+1)
					for k := first; k < last; k++ {
						s += float64(lp[k]) / float64(last-first)
					}
					mean = append(mean, s)
				}
				slope := make([]float64, len(mean))
				if loss == train.LM {
					total -= share * mean[0]
					slope[0] = -1
				} else {
					var z float64
					for _, s := range mean {
						z += math.Exp(scale * s)
					}
					total += share * (math.Log(z) - (scale+lm)*mean[0])
					for j, s := range mean {
						slope[j] = scale * math.Exp(scale*s) / z
					}
					slope[0] -= scale + lm
				}
				if len(mean) > 1 {
					ranked++
					best := 0
					for j, s := range mean {
						if s > mean[best] {
							best = j
						}
					}
					if best == 0 {
						right++
					}
				}
				for j := range mean {
					a := number(fieldAnswers, i) + j
					first, last := number(fieldTargets, a), number(fieldTargets, a+1)
					for k := first; k < last; k++ {
						row, id := number(fieldTargetRow, k), number(fieldTargetID, k)
						f := slope[j] * share / float64(last-first)
						for w := range v {
							grad[row*v+w] -= f * math.Exp(float64(logits[row*ld+w]-lse[row]))
						}
						grad[row*v+id] += f
					}
				}
			}
			got := b.down(sum, 3)
			require.InDelta(total, got[0], 1e-4*math.Abs(total))
			require.Equal([]float32{float32(ranked), float32(right)}, got[1:])
			want := make([]float32, len(grad))
			for i, x := range grad {
				want[i] = float32(x)
			}
			b.near(want, column(b.down16(pd, lay.rows*ld), ld, 0, v), "gradient of the logits, loss %s", loss)
		}
	})
}

func TestOptimiserKernels(t *testing.T) {
	each(t, func(b *bench) {
		require := require.New(t)
		const n = 1000
		v, g, m1, m2 := b.floats(n), b.floats(n), b.floats(n), b.floats(n)
		kernel.Mul(m2, m2, m2)
		pv, pg, p1, p2 := b.up(v), b.up(g), b.up(m1), b.up(m2)
		partial, err := b.take(squareBlocks, 8)
		require.NoError(err)
		norm := b.up([]float32{0})
		require.NoError(b.grid("squares", [3]uint32{squareBlocks, 1, 1}, 256, pg, partial, int64(n)))
		require.NoError(b.grid("root", [3]uint32{1, 1, 1}, 256, partial, norm, int32(squareBlocks)))
		require.InDelta(math.Sqrt(float64(kernel.Dot(g, g))), b.down(norm, 1)[0], 1e-3)
		const clip, size, correct = 0.5, 0.01, 3
		require.NoError(b.launch("adamw", n, pv, pg, p1, p2, float32(clip), float32(size), float32(correct), float32(train.Beta1), float32(train.Beta2), float32(train.Epsilon), int64(n)))
		for i := range v {
			x := g[i] * clip
			m1[i] = train.Beta1*m1[i] + (1-train.Beta1)*x
			m2[i] = train.Beta2*m2[i] + (1-train.Beta2)*x*x
			v[i] -= size * m1[i] / (float32(math.Sqrt(float64(m2[i]*correct))) + train.Epsilon)
		}
		b.exact(m1, b.down(p1, n), "first moment")
		b.exact(m2, b.down(p2, n), "second moment")
		b.exact(v, b.down(pv, n), "values")

		// Copies, with nothing beside them touched.
		to := b.halves(5 * 40)
		pto := b.up16(to)
		from := b.floats(5 * 24)
		require.NoError(b.lay("lay_floats", []job{{b.up(from[:3*24]), 24, 3, at(pto, 8, two), 40}, {b.up(from[3*24:]), 16, 3, at(pto, 3*40, two), 16}}))
		for i := range 3 {
			copy(to[i*40+8:], from[i*24:(i+1)*24])
		}
		copy(to[3*40:], from[3*24:])
		b.near(to, b.down16(pto, 200), "copies")
	})
}

// TestRealCompiler compiles the kernels with NVIDIA's compiler, for the shapes
// of a small and of a larger model, where CRAYON_NVRTC names its folder.
func TestRealCompiler(t *testing.T) {
	folder := os.Getenv("CRAYON_NVRTC")
	if folder == "" {
		t.Skip("CRAYON_NVRTC names no folder with libnvrtc")
	}
	t.Setenv(nv.LibsVariable, folder)
	for _, c := range []arch.Config{
		{Dim: 576, FF: 1536, Heads: 9, KVHeads: 3, HeadDim: 64, Vocab: 49152, Eps: 1e-5},
		{Dim: 1536, FF: 8960, Heads: 12, KVHeads: 2, HeadDim: 128, Vocab: 151936, Eps: 1e-6, RopeHalves: true},
		tiny("llama"),
	} {
		_, err := nv.Binary("sm_90", "crayon.cu", source(), defines(c)...)
		require.NoError(t, err)
	}
}
