package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/kernel"
	"crayon/internal/reference"
)

// Lesson is a prompt with its answers, of which a user has a dozen: what of the
// loss they share out, and the weights of the pool they run through.
type Lesson struct {
	Prompt  []int32
	Answers [][]int32 // each with its end token; the right one first where Right is not 0
	Row     []float32 // one weight a row of the frozen stack; nil without a stack
	Right   float64   // of the ranking loss (Ranking, with the defaults of Config)
	Hold    float64   // of the Kullback-Leibler divergence from the answers' probabilities as they were at first

	first []float64 // those probabilities
	last  float64   // the loss when last computed
}

// loss is the lesson's part of the loss for these mean log-probabilities a
// token, and its slope for each.
func (l *Lesson) loss(c Config, scores []float64) (loss float64, slope []float64) {
	slope = make([]float64, len(scores))
	if l.Right != 0 {
		loss, slope = c.loss(scores)
		loss *= l.Right
		for j := range slope {
			slope[j] *= l.Right
		}
	}
	if l.Hold != 0 {
		now := probabilities(c.RankScale, scores)
		if l.first == nil {
			l.first = now
		}
		for j, p := range l.first {
			loss += l.Hold * p * math.Log(p/now[j])
			slope[j] += l.Hold * c.RankScale * (now[j] - p)
		}
	}
	l.last = loss
	return loss, slope
}

// probabilities is softmax(scale * scores), none of it zero.
func probabilities(scale float64, scores []float64) []float64 {
	top, sum := scores[best(scores)], 0.0
	p := make([]float64, len(scores))
	for j, s := range scores {
		p[j] = math.Exp(max(scale*(s-top), -500))
		sum += p[j]
	}
	for j := range p {
		p[j] /= sum
	}
	return p
}

// lessonTokens is about how many tokens a worker computes at a time: it bounds
// the memory, and with lessonParts fixes the order of sums.
const (
	lessonTokens = 320
	lessonParts  = 4 // how many micro-batches at least, and what their number is a multiple of: cores share them evenly
)

// class is lessons laid out for passes over them.
type class struct {
	weights *reference.Weights
	config  Config
	micro   []micro
	workers []*worker
}

// micro is the lessons of one batch.
type micro struct {
	batch   *reference.Batch
	tasks   []Task
	lessons []int     // of each task
	hidden  []float32 // the residual before the first layer that is run; nil: the embeddings
}

// newClass lays the lessons out, each with its own row, padded by extra for
// each of the rows behind it.
func newClass(w *reference.Weights, stacked int, lessons []*Lesson, extra []float32) (*class, error) {
	c := &class{weights: w, config: Config{}.withDefaults()}
	if len(lessons) == 0 {
		return nil, &fault.Error{Op: "learn", Err: errors.New("there are no examples"), Exit: fault.ExitUsage}
	}
	tasks := make([]Task, len(lessons))
	order := make([]int, len(lessons))
	total := 0
	for i, l := range lessons {
		if len(l.Row) != stacked {
			return nil, &fault.Error{Op: "learn", Err: fmt.Errorf("example %d: %d weights for %d stacked rows", i, len(l.Row), stacked)}
		}
		e := Example{Prompt: l.Prompt, Answers: l.Answers}
		if err := e.check(0, w.Config.Vocab); err != nil {
			return nil, &fault.Error{Op: "learn", Err: fmt.Errorf("example %d: %w", i, err)}
		}
		t := Task{Answers: l.Answers, lesson: l, Row: append(append([]float32(nil), l.Row...), extra...)}
		t.Tree.Prefix = l.Prompt
		for _, a := range l.Answers {
			t.Tree.Branch = append(t.Tree.Branch, a[:len(a)-1])
		}
		t.Tokens = t.Tree.Tokens()
		tasks[i], order[i] = t, i
		total += t.Tokens
	}
	parts := (total/lessonTokens/lessonParts + 1) * lessonParts
	for _, list := range split(max(1, total/parts), tasks, order).Micro {
		m := micro{lessons: list}
		var trees []reference.Branches
		var rows [][]float32
		for _, i := range list {
			m.tasks = append(m.tasks, tasks[i])
			trees, rows = append(trees, tasks[i].Tree), append(rows, tasks[i].Row)
		}
		var err error
		if m.batch, err = reference.NewBatch(w.Config.Vocab, trees, rows); err != nil {
			return nil, err
		}
		c.micro = append(c.micro, m)
	}
	return c, nil
}

// enter makes the workers, who go back to the lowest layer.
func (c *class) enter(l *reference.Linears, lowest int) {
	c.workers = nil
	for range min(runtime.GOMAXPROCS(0), len(c.micro)) {
		w := newWorker(c.config, nil, l)
		w.lowest = lowest
		c.workers = append(c.workers, w)
	}
}

// each calls f for every micro-batch, the workers sharing them. Whatever f
// writes is its micro-batch's own, so that their number changes nothing.
func (c *class) each(ctx context.Context, f func(w *worker, id int, m *micro)) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	for _, w := range c.workers {
		wait.Go(func() {
			for {
				id := int(next.Add(1)) - 1
				if id >= len(c.micro) || ctx.Err() != nil {
					return
				}
				f(w, id, &c.micro[id])
			}
		})
	}
	wait.Wait()
	return ctx.Err()
}

// pass runs a micro-batch from the workers' lowest layer to the loss and back.
func (w *worker) passBack(ctx context.Context, m *micro, learn *learning) Tally {
	w.learn = learn
	c := w.model.Weights.Config
	w.head.rows = w.head.rows[:0]
	for i, t := range m.tasks {
		w.head.add(m.batch, i, t)
	}
	w.pass.RunFrom(m.batch, w.lowest, m.hidden, c.Layers, w.head.rows)
	w.residual = reference.Grow(w.residual, len(w.pass.Out))
	clear(w.residual)
	sum := w.lossAndHead(m.tasks, 1)
	for l := c.Layers - 1; l >= w.lowest && ctx.Err() == nil; l-- {
		w.layer(l, nil)
	}
	return sum
}

// learning is what a reverse pass is after.
type learning struct {
	slopes  [][]float64 // for each tree's weight of each stacked row, added to; nil: not wanted
	private *private    // the trained rows behind the frozen ones; nil: none
	grad    []float32   // of private's values
	inner   []float32   // A x, not weighted
}

// group does what worker.group does, for weights and As that are not fused.
func (n *learning) group(w *worker, l int, g *reference.Group, only []int, z []float32, ldz int, x, dx []float32) {
	c := w.model.Weights.Config
	ld, r := g.Stride(), g.Rank
	rows := len(w.out) / ld
	token := func(i int) int {
		if only != nil {
			return only[i]
		}
		return i
	}
	for k, at, col := g.First, 0, g.Out; k <= g.Last; k, col = k+1, col+r {
		out, _ := c.Shape(k)
		dy := w.out[at:]
		at += out
		if g.A[k] == nil {
			for i := range rows {
				clear(w.out[i*ld+col : i*ld+col+r])
			}
			continue
		}
		kernel.Gemm(nil, false, false, rows, r, out, 1, dy, ld, g.B[k], r, 0, w.out[col:], ld)
		if n.private != nil {
			p := n.private
			first := col - g.Out + p.frozen
			kernel.Gemm(nil, true, false, out, p.rank, rows, 1, dy, ld, z[first:], ldz, 0, n.grad[p.offsetB(arch.SlotOf(l, k)):], p.rank)
		}
		if n.slopes != nil {
			n.inner = reference.Grow(n.inner, rows*r)
			kernel.Gemm(nil, false, true, rows, r, g.In, 1, x, g.In, g.A[k], g.In, 0, n.inner, r)
			for i := range rows {
				dz, inner := w.out[i*ld+col:i*ld+col+r], n.inner[i*r:(i+1)*r]
				sum := n.slopes[w.pass.Batch.Tree[token(i)]]
				for j, d := range dz {
					sum[j] += float64(d) * float64(inner[j])
				}
			}
		}
	}
	for i := range rows {
		dz := w.out[i*ld+g.Out : (i+1)*ld]
		kernel.Mul(dz, dz, w.pass.RowWeights(token(i))[:len(dz)])
	}
	if dx != nil {
		kernel.Gemm(nil, false, false, rows, g.In, g.Out, 1, w.out, ld, g.M, g.In, 0, dx, g.In)
	}
	for k, col := g.First, g.Out; k <= g.Last; k, col = k+1, col+r {
		if g.A[k] == nil {
			continue
		}
		if n.private != nil {
			p := n.private
			kernel.Gemm(nil, true, false, p.rank, g.In, rows, 1, w.out[col+p.frozen:], ld, x, g.In, 0, n.grad[p.offsetA(arch.SlotOf(l, k)):], g.In)
		}
		if dx != nil {
			kernel.Gemm(nil, false, false, rows, g.In, r, 1, w.out[col:], ld, g.A[k], g.In, 1, dx, g.In)
		}
	}
}

// Slope is a lesson's loss and its derivative for the weight of each adapter of
// the stack.
type Slope struct {
	Loss     float64
	Adapters []float64
}

// Slopes computes each lesson's slope beside the frozen stack.
func Slopes(ctx context.Context, w *reference.Weights, s *adapter.Stack, lessons []*Lesson) ([]Slope, error) {
	l, err := w.Bind(s)
	if err != nil {
		return nil, err
	}
	c, err := newClass(w, s.Rank, lessons, nil)
	if err != nil {
		return nil, err
	}
	c.enter(l, 0)
	out := make([]Slope, len(lessons))
	err = c.each(ctx, func(w *worker, _ int, m *micro) {
		n := &learning{slopes: make([][]float64, len(m.tasks))}
		for i := range n.slopes {
			n.slopes[i] = make([]float64, s.Rank)
		}
		w.passBack(ctx, m, n)
		for i, id := range m.lessons {
			out[id] = Slope{Loss: lessons[id].last, Adapters: make([]float64, s.Adapters)}
			for r, v := range n.slopes[i] {
				out[id].Adapters[s.Owner[r]] += v
			}
		}
	})
	return out, err
}

// PrivateConfig says how Private trains.
type PrivateConfig struct {
	Rank         int
	From         int     // the layers from this one on get the adapter
	Steps        int     // each over all lessons
	LearningRate float64 // at its peak
	Seed         uint64  // of the As
	Start        *adapter.Adapter
	Progress     func(step, steps int, loss float64) // called after every step; may be nil
}

// private is the trained values beside a frozen stack: by slot A (rank x in),
// then B (out x rank).
type private struct {
	arch   arch.Config
	frozen int // rows of the frozen stack, before the private ones
	rank   int
	from   int // layer
	values []float32
	grad   []float32
	parts  [][]float32    // of grad, a micro-batch's own
	state  State          // values with their moments
	stack  *adapter.Stack // frozen and private rows together, from the layer on
}

// privateScale is on B A, as in training a pool.
const privateScale = 2

// Private trains one adapter of the upper layers by AdamW beside the frozen
// stack (nil: none), from c.Start or, if that is nil, from A ~ N(0, 1/in) and
// B = 0. The layers below From are computed once: they do not change. The
// result does not depend on the number of processors.
func Private(ctx context.Context, w *reference.Weights, s *adapter.Stack, lessons []*Lesson, c PrivateConfig) (*adapter.Adapter, error) {
	if c.Rank < 1 || c.Rank > maxRank || c.From < 0 || c.From >= w.Config.Layers || c.Steps < 1 || !(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0) {
		return nil, &fault.Error{Op: "learn", Exit: fault.ExitUsage,
			Err: fmt.Errorf("rank %d, first layer %d of %d, %d steps, learning rate %v", c.Rank, c.From, w.Config.Layers, c.Steps, c.LearningRate)}
	}
	if s == nil {
		s = &adapter.Stack{}
	}
	p, err := newPrivate(w.Config, s, c)
	if err != nil {
		return nil, err
	}
	if err := p.take(c.Start); err != nil {
		return nil, err
	}
	below, err := w.Bind(s)
	if err != nil {
		return nil, err
	}
	above, err := w.Bind(p.stack)
	if err != nil {
		return nil, err
	}
	scales := make([]float32, c.Rank)
	for i := range scales {
		scales[i] = privateScale
	}
	room, err := newClass(w, s.Rank, lessons, scales)
	if err != nil {
		return nil, err
	}
	if c.From > 0 {
		room.enter(below, 0)
		err := room.each(ctx, func(w *worker, _ int, m *micro) {
			w.pass.Keep = false
			w.pass.Run(m.batch, c.From, nil)
			m.hidden = append([]float32(nil), w.pass.Out...)
		})
		if err != nil {
			return nil, stoppedLearning(err, 0, c.Steps)
		}
	}
	room.enter(above, c.From)
	schedule := Config{LearningRate: c.LearningRate}.withDefaults()
	for step := range c.Steps {
		loss, err := p.gradient(ctx, room)
		if err != nil {
			return nil, stoppedLearning(err, step, c.Steps)
		}
		size := norm(schedule.Workers, p.grad)
		if math.IsNaN(size+loss) || math.IsInf(size+loss, 0) {
			return nil, &fault.Error{Op: "learn", Err: fmt.Errorf("step %d: the loss is %v and the gradient's norm %v", step+1, loss, size)}
		}
		update(&p.state, schedule.Workers, step, schedule.rate(step, c.Steps), size, p.grad)
		p.refresh()
		if c.Progress != nil {
			c.Progress(step+1, c.Steps, loss)
		}
	}
	return p.adapter(), nil
}

func stoppedLearning(err error, step, steps int) error {
	return &fault.Error{Op: "learn", Err: fmt.Errorf("stopped after step %d of %d: %w", step, steps, err)}
}

func newPrivate(a arch.Config, s *adapter.Stack, c PrivateConfig) (*private, error) {
	p := &private{arch: a, frozen: s.Rank, rank: c.Rank, from: c.From}
	p.values = kernel.Floats(a.RankParams() / a.Layers * (a.Layers - c.From) * c.Rank)
	n := len(p.values)
	p.grad, p.state = kernel.Floats(n), State{Params: &Params{Values: p.values}, First: kernel.Floats(n), Second: kernel.Floats(n)}
	for slot := range p.slots {
		_, in := a.Shape(slot.Kind())
		rng := rand.New(rand.NewPCG(c.Seed, uint64(slot)))
		for i, v := 0, p.a(slot); i < len(v); i++ {
			v[i] = float32(rng.NormFloat64() / math.Sqrt(float64(in)))
		}
	}
	upper := &adapter.Stack{Adapters: s.Adapters, Rank: s.Rank, Owner: s.Owner, Pairs: map[arch.Slot]*adapter.Pair{}}
	for slot, pair := range s.All() {
		if slot.Layer() >= c.From {
			upper.Pairs[slot] = pair
		}
	}
	var err error
	if p.stack, err = upper.With(p.adapter()); err != nil {
		return nil, err
	}
	p.refresh()
	return p, nil
}

// slots are those that are trained.
func (p *private) slots(yield func(arch.Slot) bool) {
	for slot := arch.SlotOf(p.from, 0); int(slot) < p.arch.Slots(); slot++ {
		if !yield(slot) {
			return
		}
	}
}

// take begins at an adapter of the same rank and layers.
func (p *private) take(a *adapter.Adapter) error {
	if a == nil {
		return nil
	}
	if len(a.Pairs) != p.arch.Slots()-int(arch.SlotOf(p.from, 0)) {
		return &fault.Error{Op: "learn", Path: a.Name, Err: errors.New("the adapter to begin with changes other layers")}
	}
	for slot := range p.slots {
		pair := a.Pairs[slot]
		if pair == nil || len(pair.A) != len(p.a(slot)) || len(pair.B) != len(p.b(slot)) {
			return &fault.Error{Op: "learn", Path: a.Name, Err: fmt.Errorf("the adapter to begin with does not fit %s at rank %d", slot.Tensor(), p.rank)}
		}
		copy(p.a(slot), pair.A)
		for i, v := range pair.B {
			p.b(slot)[i] = v * a.Scale / privateScale
		}
	}
	p.refresh()
	return nil
}

// gradient is that of all lessons into p.grad, added up in their micro-batches'
// order, and their loss.
func (p *private) gradient(ctx context.Context, room *class) (float64, error) {
	for len(p.parts) < len(room.micro) {
		p.parts = append(p.parts, kernel.Floats(len(p.values)))
	}
	losses := make([]float64, len(room.micro))
	err := room.each(ctx, func(w *worker, id int, m *micro) {
		losses[id] = w.passBack(ctx, m, &learning{private: p, grad: p.parts[id]}).Loss
	})
	if err != nil {
		return 0, err
	}
	clear(p.grad)
	var loss float64
	for id := range room.micro {
		kernel.Add(p.grad, p.parts[id])
		loss += losses[id]
	}
	return loss, nil
}

// refresh carries the values over to the stack.
func (p *private) refresh() {
	for slot := range p.slots {
		pair := p.stack.Pair(slot)
		copy(pair.A[p.frozen*pair.In:], p.a(slot))
		b := p.b(slot)
		for o := range pair.Out {
			copy(pair.B[o*pair.Rank+p.frozen:(o+1)*pair.Rank], b[o*p.rank:])
		}
	}
}

// adapter is the trained values as an adapter.
func (p *private) adapter() *adapter.Adapter {
	a := &adapter.Adapter{Name: "private", Scale: privateScale, Pairs: map[arch.Slot]*adapter.Pair{}}
	for slot := range p.slots {
		out, in := p.arch.Shape(slot.Kind())
		a.Pairs[slot] = &adapter.Pair{Rank: p.rank, In: in, Out: out,
			A: append([]float32(nil), p.a(slot)...), B: append([]float32(nil), p.b(slot)...)}
	}
	return a
}

func (p *private) a(s arch.Slot) []float32 {
	_, in := p.arch.Shape(s.Kind())
	at := p.offsetA(s)
	return p.values[at : at+in*p.rank]
}

func (p *private) b(s arch.Slot) []float32 {
	out, _ := p.arch.Shape(s.Kind())
	at := p.offsetB(s)
	return p.values[at : at+out*p.rank]
}

func (p *private) offsetA(s arch.Slot) int {
	at := (s.Layer() - p.from) * (p.arch.RankParams() / p.arch.Layers)
	for k := arch.Q; k < s.Kind(); k++ {
		out, in := p.arch.Shape(k)
		at += out + in
	}
	return at * p.rank
}

func (p *private) offsetB(s arch.Slot) int {
	_, in := p.arch.Shape(s.Kind())
	return p.offsetA(s) + in*p.rank
}
