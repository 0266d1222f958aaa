// Package learner learns from a user's few examples on the CPU: the reverse
// pass of training, over the very prompts that answering uses.
package learner

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/reference"
	"crayon/internal/strategy"
	"crayon/internal/task"
	"crayon/internal/train"
)

// Learner is a device's engine that also learns. Calls are not concurrent.
type Learner struct {
	strategy.Engine
	device  *device.Device
	options Options
	weights *reference.Weights // nil until learned with
}

// Options of New.
type Options struct {
	// Memory is how many bytes may be taken; 0: what the system says is available.
	Memory uint64
	// Progress is called after every step of Tune; nil: nobody asks.
	Progress func(step, steps int, loss float64)
}

// New lets an engine over the device learn: e scores, as the device answers;
// slopes and private adapters come from the model in float32, as in training.
func New(e strategy.Engine, d *device.Device, opt Options) *Learner {
	return &Learner{Engine: e, device: d, options: opt}
}

// Free gives the model's float32 values back; they are read again when next
// learned with.
func (l *Learner) Free() { l.weights = nil }

// Layers of the model that a private adapter is on: the upper third, as the
// share of the layers below it. They are computed once, which makes a step
// three times cheaper; docs/research.md has what other shares gave.
const below = 2.0 / 3

// from is the first layer of a private adapter.
func from(c arch.Config) int { return min(int(below*float64(c.Layers)), c.Layers-1) }

// Gradient implements strategy.Learner. The asks must have no private adapter.
func (l *Learner) Gradient(ctx context.Context, asks []strategy.Ask, golds []int) (float64, []float64, error) {
	lessons, err := l.labelled(asks, golds)
	if err != nil {
		return 0, nil, err
	}
	for i, a := range asks {
		if a.Private != nil {
			return 0, nil, &fault.Error{Op: "learn", Err: fmt.Errorf("ask %d has a private adapter: slopes are those of the pool alone", i)}
		}
		lessons[i].Row = l.Pool().Stack.RowWeights(l.members(a))
	}
	w, err := l.open(lessons, 0)
	if err != nil {
		return 0, nil, err
	}
	slopes, err := train.Slopes(ctx, w, l.Pool().Stack, lessons)
	if err != nil {
		return 0, nil, err
	}
	var loss float64
	sum := make([]float64, l.Pool().Stack.Adapters)
	for _, s := range slopes {
		loss += s.Loss
		for k, v := range s.Adapters {
			sum[k] += v
		}
	}
	return loss, sum, nil
}

// Tune implements strategy.Learner. The adapter is on the upper third of the
// layers. All asks have the same private adapter to begin with, or none.
func (l *Learner) Tune(ctx context.Context, t strategy.Tuning, asks []strategy.Ask, golds []int) (*adapter.Adapter, error) {
	lessons, err := l.labelled(asks, golds)
	if err != nil {
		return nil, err
	}
	if !(t.HeldWeight >= 0) || math.IsInf(t.HeldWeight, 0) {
		return nil, &fault.Error{Op: "learn", Err: fmt.Errorf("held with weight %v", t.HeldWeight), Exit: fault.ExitUsage}
	}
	all := slices.Clone(asks)
	if t.HeldWeight > 0 {
		for _, a := range t.Held {
			held, err := l.lesson(a, 0)
			if err != nil {
				return nil, err
			}
			held.Hold = t.HeldWeight / float64(len(t.Held))
			lessons, all = append(lessons, held), append(all, a)
		}
	}
	for i, a := range all {
		if a.Private != asks[0].Private {
			return nil, &fault.Error{Op: "learn", Err: fmt.Errorf("ask %d has another private adapter than the first", i)}
		}
	}
	stack := l.rows(lessons, all)
	lessons = joined(lessons)
	w, err := l.open(lessons, t.Rank)
	if err != nil {
		return nil, err
	}
	return train.Private(ctx, w, stack, lessons, train.PrivateConfig{
		Rank: t.Rank, From: from(w.Config), Steps: t.Steps, LearningRate: t.LearningRate, Seed: t.Seed,
		Start: asks[0].Private, Progress: l.options.Progress,
	})
}

// labelled are the lessons of asks with an answer, their mean loss as a whole.
func (l *Learner) labelled(asks []strategy.Ask, golds []int) ([]*train.Lesson, error) {
	if len(asks) == 0 || len(asks) != len(golds) {
		return nil, &fault.Error{Op: "learn", Err: fmt.Errorf("%d prompts and %d answers", len(asks), len(golds)), Exit: fault.ExitUsage}
	}
	lessons := make([]*train.Lesson, len(asks))
	for i, a := range asks {
		if golds[i] < 0 || golds[i] >= len(a.Candidates) {
			return nil, &fault.Error{Op: "learn", Err: fmt.Errorf("ask %d: answer %d of %d candidates", i, golds[i], len(a.Candidates))}
		}
		var err error
		if lessons[i], err = l.lesson(a, golds[i]); err != nil {
			return nil, err
		}
		lessons[i].Right = 1 / float64(len(asks))
	}
	return lessons, nil
}

// lesson is an ask as tokens, the candidate named first.
func (l *Learner) lesson(a strategy.Ask, first int) (*train.Lesson, error) {
	if len(a.Candidates) == 0 {
		return nil, &fault.Error{Op: "learn", Err: errors.New("an ask has no candidates")}
	}
	if a.Members != nil && len(a.Members) != len(l.Pool().Members) {
		return nil, &fault.Error{Op: "learn", Err: fmt.Errorf("%d weights, the pool has %d members", len(a.Members), len(l.Pool().Members))}
	}
	prompt, err := a.Prompt(&l.device.Form)
	if err != nil {
		return nil, err
	}
	x := &train.Lesson{}
	longest := 0
	add := func(text string) {
		answer := l.device.Form.Answer(text)
		longest = max(longest, len(answer))
		x.Answers = append(x.Answers, answer)
	}
	add(a.Candidates[first])
	for j, text := range a.Candidates {
		if j != first {
			add(text)
		}
	}
	x.Prompt = task.Cut(prompt, l.device.Model.Config.Context-longest)
	return x, nil
}

// members are an ask's weights; the base model has all of them at 0.
func (l *Learner) members(a strategy.Ask) []float32 {
	if a.Members == nil {
		return make([]float32, len(l.Pool().Members))
	}
	return a.Members
}

// rows gives each lesson its row of the stack of the members that any ask
// uses; nil without any.
func (l *Learner) rows(lessons []*train.Lesson, asks []strategy.Ask) *adapter.Stack {
	used := make([]float32, len(l.Pool().Members))
	var index []int
	for _, a := range asks {
		for k, w := range a.Members {
			if w != 0 {
				used[k] = 1
			}
		}
	}
	for k, u := range used {
		if u != 0 {
			index = append(index, k)
		}
	}
	if len(index) == 0 {
		return nil
	}
	stack, _ := l.Pool().Stack.Keep(used)
	for i, a := range asks {
		all, weights := l.members(a), make([]float32, len(index))
		for j, k := range index {
			weights[j] = all[k]
		}
		lessons[i].Row = stack.RowWeights(weights)
	}
	return stack
}

// joined makes one lesson of those with the same prompt, weights and answers,
// so that what is learned and held is computed once.
func joined(lessons []*train.Lesson) []*train.Lesson {
	known := map[string]*train.Lesson{}
	var out []*train.Lesson
	for _, l := range lessons {
		answers := make([]string, len(l.Answers))
		for j, a := range l.Answers {
			answers[j] = string(tokens(nil, a))
		}
		slices.Sort(answers)
		key := tokens(nil, l.Prompt)
		for _, a := range answers {
			key = append(binary.AppendUvarint(key, uint64(len(a))), a...)
		}
		for _, w := range l.Row {
			key = binary.LittleEndian.AppendUint32(key, math.Float32bits(w))
		}
		one := known[string(key)]
		// What is held has no right answer, so it may take on the order of
		// another; two right answers may not.
		if one != nil && (l.Right == 0 || slices.Equal(l.Answers[0], one.Answers[0])) {
			one.Right += l.Right
			one.Hold += l.Hold
			continue
		}
		known[string(key)] = l
		out = append(out, l)
	}
	return out
}

func tokens(b []byte, ids []int32) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return b
}

// open reads the model's values in float32, if there is room.
func (l *Learner) open(lessons []*train.Lesson, rank int) (*reference.Weights, error) {
	if l.weights != nil {
		return l.weights, nil
	}
	c := l.device.Model.Config
	need, have := Need(c, rank), l.options.Memory
	if have == 0 {
		have = available()
	}
	if have > 0 && need > have {
		return nil, &fault.Error{Op: "learn", Path: l.device.Path(), Exit: fault.ExitUsage,
			Err:  fmt.Errorf("learning on this model takes about %d MB of memory, %d MB are free", need>>20, have>>20),
			Hint: "use a strategy that does not train, such as blend or refine, or free some memory"}
	}
	var err error
	l.weights, err = reference.Load(l.device.Model.File(), c)
	return l.weights, err
}

// Need is about how many bytes learning takes beside the device: the model in
// float32, and for each processor what a pass over some 400 tokens leaves
// behind, with the logits of some 300.
func Need(c arch.Config, rank int) uint64 {
	layer := 0
	for k := range arch.Kinds {
		out, in := c.Shape(k)
		layer += out * in
	}
	words := c.Vocab * c.Dim
	if !c.Tied {
		words *= 2
	}
	token := c.Layers * (3*c.Dim + 2*c.Heads*c.HeadDim + 2*c.KVHeads*c.HeadDim + 2*c.FF)
	// Values, their moments and the gradients of up to eight micro-batches.
	private := c.RankParams() / 3 * rank * 12
	return 4 * uint64(words+c.Layers*layer+private+runtime.GOMAXPROCS(0)*(400*token+300*c.Vocab))
}
