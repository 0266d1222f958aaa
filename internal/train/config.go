// Package train trains a pool of low-rank adapters jointly, on the CPU: every
// example runs through the mixture that its own weights give, beside a frozen
// model. The forward pass is package reference's; the reverse pass is written
// by hand over the same layers.
package train

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"crayon/internal/arch"
	"crayon/internal/fault"
)

// Loss is what a step lowers.
type Loss string

const (
	// Ranking is the cross-entropy of softmax(RankScale * mean log-probability a
	// token) over an example's answers, the first being right, plus LMWeight
	// times LM.
	Ranking Loss = "ranking"
	// LM is the mean negative log-probability a token of the first answer.
	LM Loss = "lm"
)

// Config says what to train and how. Zero values of the fields that name a
// default take it.
type Config struct {
	Adapters   int     // blended adapters, >= 0; the length of every Example's Weights
	Rank       int     // rank of each
	SharedRank int     // rank of the adapter whose weight is always 1; 0: none
	Scale      float32 // on every adapter's B A; default 2

	Loss      Loss    // default Ranking
	RankScale float64 // default 4
	LMWeight  float64 // beside Ranking; default 0.3, negative: none

	Epochs       int     // passes over the examples; default 1
	LearningRate float64 // at its peak; default 2e-3
	Warmup       int     // steps of linear rise; default 50; at most 5 % of all steps
	StepTokens   int     // tokens an optimiser step, default 8192: computed tokens, a prompt counted once
	MicroTokens  int     // tokens one worker computes at a time, default 1024: bounds memory, and fixes the order of sums
	Bucket       int     // take steps from windows of this many examples sorted by length; 0: no sorting, as nothing is padded
	MaxTokens    int     // of prompt and longest answer; longer prompts lose their left end; default 384
	MaxAnswer    int     // of one answer; default 96
	Seed         uint64  // of the initial As and the order of examples

	Workers         int              // default: one a processor. Does not change the result
	Checkpoint      string           // file to resume from and to write; "": none
	CheckpointEvery time.Duration    // default 5 minutes
	Log             string           // JSON lines, one a step; "": none
	Plot            string           // picture of the loss (.svg or .png); "": none
	Progress        func(p Progress) // called after every step; may be nil
}

// Example is a prompt and its possible answers.
type Example struct {
	Prompt  []int32
	Answers [][]int32 // the right one first; each with its end token
	Weights []float32 // one an adapter
}

// Progress is the state after a step.
type Progress struct {
	Step, Steps       int           // steps done, steps in all
	Loss              float64       // of the step, mean over its examples
	RankAccuracy      float64       // share of the step's examples whose right answer scored highest; NaN where none had two answers
	GradNorm          float64       // before clipping
	LearningRate      float64       // of the step
	Tokens            int           // of the step
	Examples          int           // of the step
	TokensPerSecond   float64       // since Run began
	ExamplesPerSecond float64       // likewise
	Left              time.Duration // estimated from it
}

func (c Config) withDefaults() Config {
	set(&c.Scale, 2)
	set(&c.Loss, Ranking)
	set(&c.RankScale, 4)
	set(&c.LMWeight, 0.3)
	c.LMWeight = max(c.LMWeight, 0)
	set(&c.Epochs, 1)
	set(&c.LearningRate, 2e-3)
	set(&c.Warmup, 50)
	set(&c.StepTokens, 8192)
	set(&c.MicroTokens, 1024)
	set(&c.MaxTokens, 384)
	set(&c.MaxAnswer, 96)
	set(&c.Workers, runtime.GOMAXPROCS(0))
	set(&c.CheckpointEvery, 5*time.Minute)
	return c
}

func set[T comparable](x *T, value T) {
	var zero T
	if *x == zero {
		*x = value
	}
}

// stacked is the rank of all adapters together.
func (c Config) stacked() int { return c.SharedRank + c.Adapters*c.Rank }

const maxRank = 4096 // stacked; far above any use, it bounds the memory a wrong value asks for

func (c Config) check(a arch.Config, examples []Example) error {
	var faults []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	bad(c.Adapters < 0 || c.SharedRank < 0 || c.Rank < 0, "adapters, rank and shared rank must not be negative")
	bad(c.Adapters > maxRank || c.Rank > maxRank || c.SharedRank > maxRank || c.stacked() > maxRank, "the stacked rank is above %d", maxRank)
	bad(c.Adapters > 0 && c.Rank == 0, "%d adapters of rank 0", c.Adapters)
	bad(c.Adapters == 0 && c.SharedRank == 0, "nothing to train: no adapters and no shared adapter")
	bad(c.Loss != Ranking && c.Loss != LM, "loss %q is neither %q nor %q", c.Loss, Ranking, LM)
	bad(c.Epochs < 1 || c.Warmup < 0 || c.StepTokens < 1 || c.MicroTokens < 1 || c.Bucket < 0 || c.Workers < 1, "epochs, warm-up, step and micro-batch tokens, bucket and workers must be positive")
	bad(!(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0), "the learning rate is %v", c.LearningRate)
	bad(!(c.RankScale > 0) || math.IsInf(c.RankScale, 0), "the ranking scale is %v", c.RankScale)
	bad(c.MaxAnswer < 1 || c.MaxTokens <= c.MaxAnswer, "%d tokens a sequence leave no room for a prompt beside %d of an answer", c.MaxTokens, c.MaxAnswer)
	bad(a.Context > 0 && c.MaxTokens > a.Context, "%d tokens a sequence, the model's context is %d", c.MaxTokens, a.Context)
	bad(len(examples) == 0, "there are no examples")
	for i, e := range examples {
		if err := e.check(c.Adapters, a.Vocab); err != nil {
			faults = append(faults, fmt.Errorf("example %d: %w", i, err))
			break
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &fault.Error{Op: "train", Err: errors.Join(faults...), Exit: fault.ExitUsage}
}

func (e Example) check(adapters, vocab int) error {
	if len(e.Prompt) == 0 {
		return errors.New("the prompt is empty")
	}
	if len(e.Answers) == 0 {
		return errors.New("there is no answer")
	}
	if len(e.Weights) != adapters {
		return fmt.Errorf("%d weights for %d adapters", len(e.Weights), adapters)
	}
	for _, w := range e.Weights {
		if math.IsNaN(float64(w)) || math.IsInf(float64(w), 0) {
			return errors.New("a weight is not finite")
		}
	}
	for _, s := range append([][]int32{e.Prompt}, e.Answers...) {
		if len(s) == 0 {
			return errors.New("an answer is empty")
		}
		for _, id := range s {
			if id < 0 || int(id) >= vocab {
				return fmt.Errorf("token %d, the vocabulary has %d", id, vocab)
			}
		}
	}
	return nil
}
