//go:build linux && (amd64 || arm64)

package cuda

import (
	"context"
	"sync/atomic"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	nv "crayon/internal/cuda"
	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/reference"
)

// scoreTokens bounds a batch that is only scored.
const scoreTokens = 16384

// share cuts trees into runs of up to scoreTokens tokens and has every replica
// take the next run until all are done. f gets a run's first tree and its batch.
func (e *engine) share(ctx context.Context, trees []tree, stack *adapter.Stack, f func(r *replica, p *pass, w *binding, b *batch, first, count int) error) error {
	var runs [][2]int
	for lo := 0; lo < len(trees); {
		hi, n := lo, 0
		for hi < len(trees) && (hi == lo || n+trees[hi].shape.Tokens() <= min(scoreTokens, e.budget)) {
			n += trees[hi].shape.Tokens()
			hi++
		}
		runs = append(runs, [2]int{lo, hi})
		lo = hi
	}
	var next atomic.Int64
	return e.each(func(_ int, r *replica) error {
		w, err := r.bindStack(stack)
		if err != nil {
			return err
		}
		for {
			i := int(next.Add(1)) - 1
			if i >= len(runs) {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			lo, hi := runs[i][0], runs[i][1]
			var l layout
			b := l.add(trees[lo:hi], w.rank, r.config.Heads/r.config.KVHeads, r.chunkRows()/2)
			p, err := r.scoring(sizes{}.with(b), w.rank)
			if err != nil {
				return err
			}
			if r.arena == nil {
				r.arena = &arena{}
			}
			if err := r.send(r.arena, &l, b); err != nil {
				return err
			}
			if err := f(r, p, w, b, lo, hi-lo); err != nil {
				return err
			}
		}
	})
}

// scoring is a pass with room for the sizes, kept between calls.
func (r *replica) scoring(s sizes, rank int) (*pass, error) {
	if p := r.pass; p != nil && p.rank == rank && s.fits(p.room) {
		return p, nil
	}
	if r.pass != nil {
		s = s.most(r.pass.room)
	}
	if err := r.drop(r.pass); err != nil {
		return nil, err
	}
	r.pass = nil
	p, err := r.newPass(s, rank, false)
	if err == nil {
		r.pass = p
	}
	return p, err
}

// LogProbs implements accel.Engine.
func (e *engine) LogProbs(ctx context.Context, stack *adapter.Stack, asks []model.Ask) ([][][]float32, error) {
	if err := e.checkAsks(stack, asks); err != nil {
		return nil, err
	}
	trees := make([]tree, len(asks))
	for i, a := range asks {
		t := tree{shape: reference.Branches{Prefix: a.Prefix}, answers: a.Answers, row: a.Row}
		for _, x := range a.Answers {
			t.shape.Branch = append(t.shape.Branch, x[:max(len(x)-1, 0)])
		}
		trees[i] = t
	}
	res := make([][][]float32, len(asks))
	err := e.share(ctx, trees, stack, func(r *replica, p *pass, w *binding, b *batch, first, count int) error {
		if b.rows > 0 {
			if err := r.forward(p, w, b, r.config.Layers); err != nil {
				return err
			}
			for _, k := range b.chunks {
				if err := r.predict(p, b, k); err != nil {
					return err
				}
			}
		}
		all := make([]float32, b.targets)
		if err := nv.Download(r.stream, all, p.logprob); err != nil {
			return err
		}
		for i := first; i < first+count; i++ {
			res[i] = make([][]float32, len(asks[i].Answers))
			for j, x := range asks[i].Answers {
				if len(x) > 0 {
					res[i][j], all = all[:len(x):len(x)], all[len(x):]
				}
			}
		}
		return nil
	})
	return res, err
}

func (e *engine) checkAsks(stack *adapter.Stack, asks []model.Ask) error {
	c := e.weights.Config
	rank := 0
	if stack != nil {
		rank = stack.Rank
		for slot, p := range stack.All() {
			if slot < 0 || int(slot) >= c.Slots() {
				return bad("use adapter", "slot %d, the model has %d", slot, c.Slots())
			}
			if out, in := c.Shape(slot.Kind()); p.Out != out || p.In != in || p.Rank != rank || len(p.A) != rank*in || len(p.B) != out*rank {
				return bad("use adapter", "%s: the adapter is %d x %d of rank %d, the model's layer %d x %d", slot.Tensor(), p.Out, p.In, p.Rank, out, in)
			}
		}
	}
	for i, a := range asks {
		if len(a.Prefix) == 0 {
			return bad("score answers", "there is nothing before the answers of question %d", i+1)
		}
		if a.Row != nil && len(a.Row) != rank {
			return bad("score answers", "question %d: %d weights for %d stacked rows", i+1, len(a.Row), rank)
		}
		if err := e.known(a.Prefix); err != nil {
			return err
		}
		for _, x := range a.Answers {
			if err := e.known(x); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *engine) known(tokens []int32) error {
	for _, id := range tokens {
		if id < 0 || int(id) >= e.weights.Config.Vocab {
			return bad("read tokens", "token %d is outside the vocabulary of %d", id, e.weights.Config.Vocab)
		}
	}
	return nil
}

// Features implements accel.Engine.
func (e *engine) Features(ctx context.Context, layer int, texts [][]int32) ([][]float32, error) {
	c := e.weights.Config
	if layer < 0 || layer > c.Layers {
		return nil, bad("feature", "layer %d is not in 0..%d", layer, c.Layers)
	}
	trees := make([]tree, len(texts))
	for i, x := range texts {
		if len(x) == 0 {
			return nil, bad("feature", "text %d has no tokens", i+1)
		}
		if err := e.known(x); err != nil {
			return nil, err
		}
		trees[i].shape.Prefix = x
	}
	out := make([][]float32, len(texts))
	width := c.Dim
	if layer == 0 {
		width, _ = c.Shape(arch.Q)
	}
	err := e.share(ctx, trees, nil, func(r *replica, p *pass, w *binding, b *batch, first, count int) error {
		if err := r.forward(p, w, b, layer); err != nil {
			return err
		}
		mean, err := r.take(count, c.Dim*four)
		if err != nil {
			return err
		}
		defer r.give(mean)
		var gain nv.Ptr
		if layer == 0 {
			gain = r.base.layers[0].attnNorm
		}
		if err := r.launch("mean_rows", 32*count, p.out, b.at(fieldFirst, 0), b.at(fieldCount, 0), gain, mean, int32(count)); err != nil {
			return err
		}
		from := mean
		if layer == 0 {
			if from, err = r.firstQuery(e.weights, mean, count); err != nil {
				return err
			}
			defer r.give(from)
		}
		all := make([]float32, count*width)
		if err := nv.Download(r.stream, all, from); err != nil {
			return err
		}
		for i := range count {
			x := all[i*width : (i+1)*width : (i+1)*width]
			if bias := e.weights.Layers[0].Bias[arch.Q]; layer == 0 && bias != nil {
				kernel.Add(x, bias)
			}
			out[first+i] = x
		}
		return nil
	})
	return out, err
}

// firstQuery is the first layer's query projection of n rows of x, without
// bias: linear, so that it may follow the mean over tokens.
func (r *replica) firstQuery(w *reference.Weights, x nv.Ptr, n int) (nv.Ptr, error) {
	var err error
	if r.firstQ == 0 {
		if r.firstQ, err = upload(r, w.Layers[0].W[arch.Q], four); err != nil {
			return 0, err
		}
	}
	width, in := r.config.Shape(arch.Q)
	to, err := r.take(n, width*four)
	if err != nil {
		return 0, err
	}
	return to, r.gemm("first query", nv.Gemm{TransB: true, M: n, N: width, K: in, Alpha: 1, A: x, B: r.firstQ, C: to, TypeA: nv.F32, TypeB: nv.F32, TypeC: nv.F32})
}
