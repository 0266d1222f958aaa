// Package strategy holds the ways of making the device LLM a user's own from
// examples, one file each. A strategy fits a plan to a task; a plan is data, so
// that the product stores it and the benchmark scores it by the same code.
package strategy

import (
	"context"
	"slices"
	"time"

	"crayon/internal/adapter"
	"crayon/internal/pool"
	"crayon/internal/task"
)

// Row is a question with its candidate answers.
type Row struct {
	Question   string
	Context    string
	Candidates []string
	Gold       int       // index of the right candidate; -1: unlabelled, or none is right
	Direction  []float32 // the question's feature, centred and of unit length
}

// Task is what a user gives: examples, and the labels that every prompt lists.
type Task struct {
	Labels []string // nil: no label task
	Rows   []Row
	Keep   int           // blended adapters to keep; 0: as many as the pool says; negative: all
	Writes bool          // answers are written, not picked among candidates: strategies that only choose are of no use
	Prior  *Prior        // what other users' tasks teach; nil: what is part of the program
	Budget time.Duration // that choosing may take on 2 cores, about; 0: 20 s

	// Only are the strategies that can be chosen, nil: all there are.
	Only []string

	// Blend is the blend's weight a member, where it is decided already: within
	// a choice all folds share the unlabelled blend, and with it their passes.
	Blend []float32
}

// Labelled says whether the row has an answer among its candidates.
func (r *Row) Labelled() bool { return r.Gold >= 0 && r.Gold < len(r.Candidates) }

// labelled are the indices of the rows with an answer.
func (t *Task) labelled() []int {
	var out []int
	for i := range t.Rows {
		if t.Rows[i].Labelled() {
			out = append(out, i)
		}
	}
	return out
}

// Without is the task with the given rows left out.
func (t Task) Without(rows ...int) Task {
	kept := make([]Row, 0, len(t.Rows))
	for i, r := range t.Rows {
		if !slices.Contains(rows, i) {
			kept = append(kept, r)
		}
	}
	t.Rows = kept
	return t
}

// Ask is one prompt with candidates to weigh after it.
type Ask struct {
	Text       string      // the user turn (task.Text)
	Shots      []task.Shot // worked examples before it
	Candidates []string
	Members    []float32        // one weight a pool member; nil: the base model
	Private    *adapter.Adapter // beside the members, weight 1; nil: none
}

// Score is the log-probability of one candidate, its end token included.
type Score struct {
	Sum    float64 // natural log, over the tokens
	Tokens int
}

// Mean is the log-probability a token.
func (s Score) Mean() float64 { return s.Sum / float64(max(1, s.Tokens)) }

// Engine scores candidates under any weights of a pool's adapters. The same
// call gives the same result. Calls are not concurrent.
type Engine interface {
	Pool() *pool.Pool
	Score(ctx context.Context, asks []Ask) ([][]Score, error)
}

// Learner is an engine that also goes backwards, over the ranking loss of
// training: the cross-entropy of softmax(scale * mean log-probability a token)
// plus LMWeight times the gold's negative mean log-probability, the mean over
// asks. golds are indices into each ask's candidates.
type Learner interface {
	Engine

	// Gradient is the loss and its derivative for every member's weight.
	Gradient(ctx context.Context, asks []Ask, golds []int) (loss float64, members []float64, err error)

	// Tune trains a private adapter of the rank beside the asks' members, by
	// AdamW over all asks at every step, from the given adapter (nil: B = 0).
	Tune(ctx context.Context, t Tuning, asks []Ask, golds []int) (*adapter.Adapter, error)
}

// Tuning says how a private adapter is trained.
type Tuning struct {
	Rank         int
	Steps        int
	LearningRate float64
	Seed         uint64
	Held         []Ask   // unlabelled prompts whose candidates' probabilities are to stay as they are
	HeldWeight   float64 // of the Kullback-Leibler divergence on Held beside the loss
}
