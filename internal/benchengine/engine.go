// Package benchengine lets the benchmark score with the device's model and
// pool, or with an accelerator in the model's place: the same prompts, the same
// stacks of adapters, whatever computes.
package benchengine

import (
	"context"
	"errors"
	"slices"

	"crayon/internal/adapter"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/model"
	"crayon/internal/pool"
	"crayon/internal/strategy"
	"crayon/internal/task"
)

// LogProbs computes what model.Model.LogProbs does, beside a stack (nil: none).
type LogProbs func(ctx context.Context, stack *adapter.Stack, asks []model.Ask) ([][][]float32, error)

// Features computes what model.Model.Features does.
type Features func(ctx context.Context, layer int, texts [][]int32) ([][]float32, error)

// Features implements device.Featurer.
func (f Features) Features(ctx context.Context, layer int, texts [][]int32) ([][]float32, error) {
	return f(ctx, layer, texts)
}

// Engine scores asks under any weights of the pool's adapters, with a private
// adapter beside them or alone. It implements bench.Engine.
type Engine struct {
	d        *device.Device
	logProbs LogProbs
	features Features       // nil: the device's
	pool     *adapter.Stack // the pool's
	stacks   map[stackKey]*adapter.Stack
	order    []stackKey // of stacks, the oldest first
	forget   func(*adapter.Stack)
	computed int64
}

// stackKey tells the stacks that asks need apart: the private adapter, and
// whether the pool is beside it. Its scale is a weight, as a gate may change it
// from query to query.
type stackKey struct {
	private *adapter.Pair
	pool    bool
}

// New scores on the device.
func New(d *device.Device) *Engine {
	sides := map[*adapter.Stack]*model.Side{}
	e := With(d, func(ctx context.Context, stack *adapter.Stack, asks []model.Ask) ([][][]float32, error) {
		side, err := sideOf(ctx, d, sides, stack)
		if err != nil {
			return nil, err
		}
		return d.Model.LogProbs(ctx, side, asks)
	}, nil)
	e.pool = d.Pool.Stack // the device packs it
	e.forget = func(s *adapter.Stack) { delete(sides, s) }
	return e
}

// sideOf packs a stack once.
func sideOf(ctx context.Context, d *device.Device, sides map[*adapter.Stack]*model.Side, stack *adapter.Stack) (*model.Side, error) {
	if stack == nil {
		return nil, nil
	}
	if s := sides[stack]; s != nil {
		return s, nil
	}
	if stack == d.Pool.Stack {
		return d.Side(ctx)
	}
	side, err := d.Model.NewSide(stack)
	if err != nil {
		return nil, err
	}
	sides[stack] = side
	return side, nil
}

// With scores with another computer of log-probabilities, and of features if
// one is given; the device gives prompts and pool.
func With(d *device.Device, logProbs LogProbs, features Features) *Engine {
	return &Engine{d: d, pool: d.Pool.Stack.InMemory(), logProbs: logProbs, features: features, stacks: map[stackKey]*adapter.Stack{}, forget: func(*adapter.Stack) {}}
}

// Pool implements strategy.Engine.
func (e *Engine) Pool() *pool.Pool { return e.d.Pool }

// Computed is how many tokens were asked for, prompts and candidates.
func (e *Engine) Computed() int64 { return e.computed }

// Directions implements bench.Engine.
func (e *Engine) Directions(ctx context.Context, questions []string) ([][]float32, error) {
	if e.features == nil {
		return e.d.Directions(ctx, questions)
	}
	raw, err := device.RawFeatures(ctx, e.features, e.d.Tokenizer, e.d.Pool.Feature, questions)
	if err != nil {
		return nil, err
	}
	for i := range raw {
		if raw[i], err = e.d.Pool.Direction(raw[i]); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// job is asks under one stack, with their places among all.
type job struct {
	stack *adapter.Stack
	asks  []model.Ask
	at    []int
}

// Score implements strategy.Engine.
func (e *Engine) Score(ctx context.Context, asks []strategy.Ask) ([][]strategy.Score, error) {
	jobs, err := e.jobs(asks)
	if err != nil {
		return nil, err
	}
	out := make([][]strategy.Score, len(asks))
	for _, j := range jobs {
		lps, err := e.logProbs(ctx, j.stack, j.asks)
		if err != nil {
			return nil, err
		}
		if len(lps) != len(j.asks) {
			return nil, &fault.Error{Op: "score", Err: errors.New("not every prompt was scored")}
		}
		for i, answers := range lps {
			scores := make([]strategy.Score, len(answers))
			for k, lp := range answers {
				for _, x := range lp {
					scores[k].Sum += float64(x)
				}
				scores[k].Tokens = len(lp)
			}
			out[j.at[i]] = scores
		}
	}
	return out, nil
}

// jobs groups asks by the stack they need, in the order they come.
func (e *Engine) jobs(asks []strategy.Ask) ([]*job, error) {
	var jobs []*job
	for i := range asks {
		stack, row, err := e.stack(&asks[i])
		if err != nil {
			return nil, err
		}
		ask, err := e.ask(&asks[i], row)
		if err != nil {
			return nil, err
		}
		n := slices.IndexFunc(jobs, func(j *job) bool { return j.stack == stack })
		if n < 0 {
			n = len(jobs)
			jobs = append(jobs, &job{stack: stack})
		}
		jobs[n].asks, jobs[n].at = append(jobs[n].asks, ask), append(jobs[n].at, i)
	}
	return jobs, nil
}

// mostStacks bounds what is kept packed: a pool's side takes tens of megabytes.
const mostStacks = 4

// stack is what an ask's adapters are stacked in, and its row over it.
func (e *Engine) stack(a *strategy.Ask) (*adapter.Stack, []float32, error) {
	if a.Private == nil {
		// The base model too goes through the pool's side, with no row.
		return e.pool, e.d.Row(a.Members), nil
	}
	slots := a.Private.Slots()
	if len(slots) == 0 {
		return e.pool, e.d.Row(a.Members), nil
	}
	k := stackKey{a.Private.Pairs[slots[0]], a.Members != nil}
	s := e.stacks[k]
	if s == nil {
		var err error
		if s, err = e.made(a.Private, k.pool); err != nil {
			return nil, nil, err
		}
		if len(e.order) >= mostStacks {
			e.forget(e.stacks[e.order[0]])
			delete(e.stacks, e.order[0])
			e.order = e.order[1:]
		}
		e.stacks[k] = s
		e.order = append(e.order, k)
	}
	weights := []float32{a.Private.Scale}
	if k.pool {
		weights = append(slices.Clone(a.Members), a.Private.Scale)
	}
	return s, s.RowWeights(weights), nil
}

// made stacks a private adapter at scale 1, below the pool's members if they
// are beside it.
func (e *Engine) made(private *adapter.Adapter, withPool bool) (*adapter.Stack, error) {
	private = &adapter.Adapter{Name: private.Name, Scale: 1, Pairs: private.Pairs}
	if !withPool {
		return adapter.NewStack([]*adapter.Adapter{private})
	}
	return e.pool.With(private)
}

// ask is an ask in tokens.
func (e *Engine) ask(a *strategy.Ask, row []float32) (model.Ask, error) {
	out := model.Ask{Row: row}
	longest := 0
	for _, c := range a.Candidates {
		answer := e.d.Form.Answer(c)
		out.Answers = append(out.Answers, answer)
		longest = max(longest, len(answer))
		e.computed += int64(len(answer))
	}
	prompt, err := e.prompt(a, longest)
	out.Prefix = prompt
	e.computed += int64(len(prompt))
	return out, err
}

// prompt is an ask's prompt, cut from the left where it is too long or leaves
// no room.
func (e *Engine) prompt(a *strategy.Ask, room int) ([]int32, error) {
	prompt, err := a.Prompt(&e.d.Form)
	if err != nil {
		return nil, err
	}
	return task.Cut(prompt, e.d.Model.Config.Context-room), nil
}

// Tokens is how many tokens a text has.
func (e *Engine) Tokens(text string) int { return len(e.d.Tokenizer.Encode(text)) }
