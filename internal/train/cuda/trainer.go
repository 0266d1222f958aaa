//go:build linux && (amd64 || arm64)

package cuda

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"

	nv "crayon/internal/cuda"
	"crayon/internal/train"
)

// trainer is a train.Backend on the replicas of one process.
type trainer struct {
	plan    *train.Plan
	parts   []*part
	times   *profile
	profile io.Writer // where times go; nil: not measured
	done    int       // steps since it began
}

// part is one replica's share of a run.
type part struct {
	*replica
	plan   *train.Plan
	budget int // tokens of a batch
	bound  *binding
	pass   *pass
	params params
	own    int // stacked rank

	values, grad, first, second nv.Ptr // float32
	result                      nv.Ptr // after grad: loss, ranked, right, stop, then the norm
	partial                     nv.Ptr // sums of squares, float64
	refresh                     jobs
	arenas                      [2]arena
	steps                       map[int][]*batch // laid out and sent
}

// Words of the result.
const (
	resultStop = 3
	resultNorm = 4
	results    = 8
	// squareBlocks is how many blocks sum the gradient's squares.
	squareBlocks = 512
	// unmeasured is how many steps a profile leaves out: the first load what
	// they need.
	unmeasured = 1
)

func (e *engine) open(plan *train.Plan, s *train.State) (train.Backend, error) {
	t := &trainer{plan: plan}
	for _, r := range e.replicas {
		if r.world > 1 && r.comm == nil {
			return nil, bad("train on GPUs", "they were separated by an earlier error")
		}
		t.parts = append(t.parts, &part{replica: r, plan: plan, budget: e.budget, steps: map[int][]*batch{}})
	}
	t.profile = e.profile
	if err := t.each(func(p *part) error { return p.begin(s) }); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// each runs f for all parts at once, each on its replica's thread. If one
// fails, sums in which the others wait for it are ended: nothing can be trained
// after that.
func (t *trainer) each(f func(p *part) error) error {
	errs := make([]error, len(t.parts))
	var wait sync.WaitGroup
	var failed sync.Once
	for i, p := range t.parts {
		wait.Go(func() {
			if errs[i] = p.do(func() error { return f(p) }); errs[i] == nil || p.comm == nil {
				return
			}
			failed.Do(func() {
				for _, q := range t.parts {
					errs[i] = errors.Join(errs[i], q.comm.Abort())
				}
			})
		})
	}
	wait.Wait()
	err := errors.Join(errs...)
	if err != nil {
		for _, p := range t.parts {
			p.comm = nil
		}
	}
	return err
}

// begin takes the memory of a run that begins at s.
func (p *part) begin(s *train.State) error {
	if err := p.drop(p.replica.pass); err != nil { // the scoring's
		return err
	}
	p.replica.pass = nil
	c := p.config
	p.own = s.Params.Stacked()
	p.params = newParams(c, padded(p.own))
	n := p.params.size
	var err error
	if p.bound, err = p.bind(p.params.rank, true); err != nil {
		return err
	}
	padding := make([]float32, n)
	for _, x := range []struct {
		to   *nv.Ptr
		from []float32
	}{{&p.values, s.Params.Values}, {&p.first, s.First}, {&p.second, s.Second}} {
		p.params.pad(c, padding, x.from, p.own)
		if *x.to, err = upload(p.replica, padding, four); err != nil {
			return err
		}
		if err := p.stream.Wait(); err != nil {
			return err
		}
	}
	if p.grad, err = p.take(n+results, four); err != nil {
		return err
	}
	p.result = at(p.grad, n, four)
	if p.partial, err = p.take(squareBlocks, 8); err != nil {
		return err
	}
	if p.refresh, err = p.prepare(p.sides(p.bound, p.params, p.values)); err != nil {
		return err
	}
	if err := p.copies("lay_floats", p.refresh); err != nil {
		return err
	}
	if err := p.room(); err != nil {
		return err
	}
	return p.stream.Wait()
}

// room takes buffers for the largest batch of the plan.
func (p *part) room() error {
	free, err := p.device.Left()
	if err != nil {
		return err
	}
	c := p.config
	// Logits take their share, and a tenth stays free.
	each := tokenBytes(c, p.params.rank, true)
	spare := free - free/10
	if logits := uint64(p.chunkRows() * ldLogits(c) * (four + two)); spare > logits {
		spare -= logits
	}
	p.budget = min(p.budget, int(spare/uint64(each)))
	var s sizes
	for t := range p.plan.Steps {
		for _, list := range p.batches(t) {
			var x sizes
			for _, i := range list {
				task := &p.plan.Tasks[i]
				x.tokens += task.Tokens
				rows := 1
				for j, a := range task.Answers {
					x.targets += len(a)
					rows += len(task.Tree.Branch[j])
				}
				x.rows += rows
				x.chunk = max(x.chunk, rows)
				x.answers += len(task.Answers)
				x.examples++
			}
			x.chunk = max(x.chunk, min(x.rows, p.chunkRows()))
			s = s.most(x)
		}
	}
	p.pass, err = p.newPass(s, p.params.rank, true)
	return err
}

// logitBytes bounds what logits and their gradient take together.
const logitBytes = 2 << 30

// chunkRows is how many positions' logits are held at once.
func (r *replica) chunkRows() int {
	return max(64, min(8192, logitBytes/(ldLogits(r.config)*(four+two))))
}

// batches are this replica's batches of step t, of tasks by number: its share
// of the step's micro-batches, several together up to the budget.
func (p *part) batches(t int) [][]int {
	var list [][]int
	var now []int
	size := 0
	for i, micro := range p.plan.Steps[t].Micro {
		if i%p.world != p.rank {
			continue
		}
		n := 0
		for _, task := range micro {
			n += p.plan.Tasks[task].Tokens
		}
		if len(now) > 0 && size+n > p.budget {
			list, now, size = append(list, now), nil, 0
		}
		now, size = append(now, micro...), size+n
	}
	if len(now) > 0 {
		list = append(list, now)
	}
	return list
}

// layout lays out step t and sends it, unless that is done already.
func (p *part) layout(t int) ([]*batch, error) {
	if t >= len(p.plan.Steps) {
		return nil, nil
	}
	if have, ok := p.steps[t]; ok {
		return have, nil
	}
	var l layout
	var all []*batch
	for _, list := range p.batches(t) {
		trees := make([]tree, len(list))
		for i, n := range list {
			x := &p.plan.Tasks[n]
			trees[i] = tree{x.Tree, x.Answers, x.Row}
		}
		all = append(all, l.add(trees, p.params.rank, p.config.Heads/p.config.KVHeads, p.pass.room.chunk))
	}
	p.steps[t] = all
	return all, p.send(&p.arenas[t%len(p.arenas)], &l, all...)
}

// Gradient implements train.Backend. Where several processes train, one that
// was told to stop has all of them stop before the same step.
func (t *trainer) Gradient(ctx context.Context, step int) (train.Tally, float64, error) {
	if err := ctx.Err(); err != nil && t.parts[0].world == len(t.parts) {
		return train.Tally{}, 0, err
	}
	if t.profile != nil && t.done == unmeasured {
		t.times = newProfile()
		t.parts[0].times = t.times
	}
	var words [results]float32
	err := t.each(func(p *part) error {
		out, err := p.step(ctx, step)
		if p == t.parts[0] {
			words = out
		}
		return err
	})
	switch {
	case err != nil:
	case words[resultStop] != 0 && ctx.Err() != nil:
		err = ctx.Err()
	case words[resultStop] != 0:
		err = errStopped
	}
	if err != nil {
		return train.Tally{}, 0, err
	}
	t.done++
	return train.Tally{Loss: float64(words[0]), Ranked: int(words[1]), Right: int(words[2])}, float64(words[resultNorm]), nil
}

var errStopped = errors.New("another process of this run was stopped")

func (p *part) step(ctx context.Context, t int) (words [results]float32, err error) {
	if err := p.times.mark(p.stream); err != nil {
		return words, err
	}
	list, err := p.layout(t)
	if err != nil {
		return words, err
	}
	delete(p.steps, t)
	if err := p.stream.Zero(p.result, results*four); err != nil {
		return words, err
	}
	if len(list) == 0 {
		if err := p.stream.Zero(p.grad, uint64(p.params.size*four)); err != nil {
			return words, err
		}
	}
	if ctx.Err() != nil {
		if err := nv.Upload(p.stream, at(p.result, resultStop, four), []float32{1}); err != nil {
			return words, err
		}
	}
	share := 1 / float64(p.plan.Steps[t].Examples)
	for i, b := range list {
		if err := p.gradient(p.pass, p.bound, b, p.plan.Config, p.params, p.grad, p.result, share, i == 0); err != nil {
			return words, err
		}
	}
	if p.comm != nil {
		if err := p.comm.Sum(p.stream, p.grad, p.params.size+resultNorm, nv.F32); err != nil {
			return words, err
		}
		if p.times != nil {
			if err := p.times.took(p.stream, "sum over GPUs", 0); err != nil {
				return words, err
			}
		}
	}
	if err := p.grid("squares", [3]uint32{squareBlocks, 1, 1}, 256, p.grad, p.partial, int64(p.params.size)); err != nil {
		return words, err
	}
	if err := p.grid("root", [3]uint32{1, 1, 1}, 256, p.partial, at(p.result, resultNorm, four), int32(squareBlocks)); err != nil {
		return words, err
	}
	// While the GPU works: the next step's numbers.
	if _, err := p.layout(t + 1); err != nil {
		return words, err
	}
	return words, nv.Download(p.stream, words[:], p.result)
}

// Update implements train.Backend.
func (t *trainer) Update(step int, rate, norm float64) error {
	clip := float32(1)
	if norm > train.MaxNorm {
		clip = float32(train.MaxNorm / norm)
	}
	size := float32(rate / (1 - math.Pow(train.Beta1, float64(step+1))))
	correct := float32(1 / (1 - math.Pow(train.Beta2, float64(step+1))))
	return t.each(func(p *part) error {
		n := p.params.size
		err := p.launch("adamw", n, p.values, p.grad, p.first, p.second, clip, size, correct,
			float32(train.Beta1), float32(train.Beta2), float32(train.Epsilon), int64(n))
		if err != nil {
			return err
		}
		return p.copies("lay_floats", p.refresh)
	})
}

// Save implements train.Backend. The replicas' states are equal.
func (t *trainer) Save(s *train.State) error {
	p := t.parts[0]
	return p.do(func() error {
		padding := make([]float32, p.params.size)
		for from, to := range map[nv.Ptr][]float32{p.values: s.Params.Values, p.first: s.First, p.second: s.Second} {
			if err := nv.Download(p.stream, padding, from); err != nil {
				return err
			}
			p.params.strip(p.config, to, padding, p.own)
		}
		return nil
	})
}

// Close implements train.Backend: the run's memory is given back.
func (t *trainer) Close() error {
	if t.times != nil && t.done > unmeasured {
		t.times.write(t.profile, t.done-unmeasured)
	}
	return t.each(func(p *part) error {
		p.times = nil
		errs := []error{p.stream.Wait(), p.drop(p.pass)}
		if p.bound != nil {
			errs = append(errs, p.unbind(p.bound))
		}
		for _, x := range []nv.Ptr{p.values, p.first, p.second, p.grad, p.partial, p.refresh.list, p.arenas[0].device, p.arenas[1].device} {
			errs = append(errs, p.give(x))
		}
		return errors.Join(errs...)
	})
}
