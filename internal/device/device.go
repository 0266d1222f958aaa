// Package device is the LLM on this machine with its pool: text in, text out,
// under any blend of the pool's adapters.
package device

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"crayon/internal/chat"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/model"
	"crayon/internal/pool"
	"crayon/internal/task"
	"crayon/internal/tokenizer"
)

// Device is an open model with the pool that was trained for it.
type Device struct {
	Model     *model.Model
	Tokenizer *tokenizer.Tokenizer
	Pool      *pool.Pool
	Form      task.Form // the pool's prompt form, for the base model too: equal prompts, fair comparisons
	Lineage   string
	Warning   string // what to tell the user about model and pool, or ""
	Adapter   string // name of the one adapter it answers with, in a pool's place; "" with a pool

	side   *atomic.Pointer[model.Side]
	beside *beside
	own    []float32 // the row of Adapter; nil with a pool

	elsewhere *elsewhere // of a pool whose sides are on a server; else nil
	path      string
	batch     *batcher
	prefixes  *prefixes
}

// Options of Open.
type Options struct {
	Threads     int    // 0: one a core
	Digest      string // sha256 of the model's file, hex, where it is known: tells another quantisation than the pool's
	Adapter     string // a PEFT folder or GGUF LoRA file to answer with; then no pool is used
	PrefixCache int    // bytes for the prefix cache; 0: none
	Bare        bool   // without customisations, if the pool is another model's; else that is an error
}

// Open loads the model at path with the pool's adapters beside it, or the one
// adapter that the options name; p may then be nil. The pool's are packed when
// they are first used: Side does it now.
func Open(ctx context.Context, path string, p *pool.Pool, opt Options) (*Device, error) {
	m, err := model.Open(path, model.Options{Threads: opt.Threads})
	if err != nil {
		return nil, err
	}
	d := &Device{Model: m, Pool: p, path: path, side: new(atomic.Pointer[model.Side]), beside: new(beside), prefixes: newPrefixes(opt.PrefixCache, m.NewCache)}
	d.batch = newBatcher(func(ctx context.Context, in []model.Input, emit func(input, token int, logits []float32) error) error {
		if !slices.ContainsFunc(in, func(i model.Input) bool { return i.Row != nil }) {
			return m.Forward(ctx, nil, in, emit) // the base model alone has no use for a side
		}
		side, err := d.packed()
		if err != nil {
			return err
		}
		return m.Forward(ctx, side, in, emit)
	})
	if err := d.prepare(ctx, opt); err != nil {
		m.Close()
		return nil, err
	}
	return d, nil
}

func (d *Device) prepare(ctx context.Context, opt Options) error {
	f := d.Model.File()
	var err error
	if d.Tokenizer, err = tokenizer.FromGGUF(f); err != nil {
		return err
	}
	if d.Lineage, err = gguf.Fingerprint(f); err != nil {
		return err
	}
	if opt.Adapter != "" {
		return d.prepareAdapter(ctx, f, opt.Adapter)
	}
	digest := opt.Digest
	if digest == "" {
		digest = d.Pool.Base.Digest
	}
	if opt.Bare && d.Lineage != d.Pool.Base.Lineage {
		return d.prepareBare(f)
	}
	if d.Warning, err = d.Pool.Check(digest, d.Lineage, d.Model.Config); err != nil {
		return err
	}
	if d.Form, err = NewForm(d.Tokenizer, d.Pool.Prompt); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d.beside.first = d.Pool.Stack
	return nil
}

// prepareBare goes on without a pool, in the model's own prompt form.
func (d *Device) prepareBare(f *gguf.File) error {
	if err := d.ownForm(f); err != nil {
		return err
	}
	d.Warning = fmt.Sprintf("the pool was made for %s, not for this model: it runs without customisations", d.Pool.Base.Name)
	d.Pool = pool.Bare(d.Lineage, d.Model.Config)
	d.beside.first = d.Pool.Stack
	return nil
}

// NewForm is the prompt form a pool describes.
func NewForm(t *tokenizer.Tokenizer, p pool.Prompt) (task.Form, error) {
	form := task.Form{Tokenizer: t, System: p.System, End: t.EOS()}
	if id, ok := t.ID("<|im_end|>"); ok {
		form.End = id
	}
	var err error
	form.Template, err = chat.New(p.Template, "", "")
	return form, err
}

// Stats counts what concurrent answers shared and what was known already.
type Stats struct {
	Passes int64 // joint forward passes
	Turns  int64 // of callers, that they served
	Prefix PrefixStats
}

// Stats are the counts since the device was opened.
func (d *Device) Stats() Stats {
	known := d.prefixes.counts()
	d.batch.mu.Lock()
	defer d.batch.mu.Unlock()
	return Stats{Passes: d.batch.passes, Turns: d.batch.together, Prefix: known}
}

// Forget frees what the prefix cache holds under a row.
func (d *Device) Forget(row []float32) { d.prefixes.drop(d.row(row)) }

// Close frees the model.
func (d *Device) Close() error { return d.Model.Close() }

// Path is the model's file.
func (d *Device) Path() string { return d.path }

// Digest is the sha256 of the model's file, hex.
func (d *Device) Digest() (string, error) { return gguf.Digest(d.path) }

// Side is the pool's packed stack, with what is attached at present beside it.
func (d *Device) Side(ctx context.Context) (side *model.Side, err error) {
	err = d.batch.exclusive(ctx, func() error {
		side, err = d.packed()
		return err
	})
	return side, err
}

// packed is the Side, packed if it is not yet. The caller has the model to itself.
func (d *Device) packed() (*model.Side, error) {
	if s := d.side.Load(); s != nil {
		return s, nil
	}
	s, err := d.Model.NewSide(d.beside.first)
	if err != nil {
		return nil, err
	}
	d.side.Store(s)
	d.Pool.Forget()
	return s, nil
}

// Row turns one weight a pool member into one a stacked row; nil gives nil, the
// base model, with the Adapter if there is one.
func (d *Device) Row(members []float32) []float32 {
	if members == nil {
		return nil
	}
	return d.Pool.Stack.RowWeights(members)
}

// Direction is the feature of a question, centred and of unit length: what
// indicators and other questions are compared with.
func (d *Device) Direction(ctx context.Context, question string) ([]float32, error) {
	all, err := d.Directions(ctx, []string{question})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// Directions are several questions' features, computed together.
func (d *Device) Directions(ctx context.Context, questions []string) ([][]float32, error) {
	ids, err := featureTokens(d.Tokenizer, d.Pool.Feature, questions)
	if err != nil {
		return nil, err
	}
	out := make([][]float32, 0, len(questions))
	for lo, hi := 0, 0; lo < len(ids); lo = hi {
		// As many as fill a pass: answers under way go on in between.
		for n := 0; hi < len(ids) && (hi == lo || n+len(ids[hi]) <= mostTokens); hi++ {
			n += len(ids[hi])
		}
		err := d.batch.exclusive(ctx, func() error {
			raw, err := d.Model.Features(ctx, d.Pool.Feature.Layer, ids[lo:hi])
			out = append(out, raw...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for i := range out {
		if out[i], err = d.Pool.Direction(out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Featurer computes texts' features: a model.Model, or an accelerator.
type Featurer interface {
	Features(ctx context.Context, layer int, texts [][]int32) ([][]float32, error)
}

// RawFeatures are questions' features before centring.
func RawFeatures(ctx context.Context, m Featurer, t *tokenizer.Tokenizer, f pool.Feature, questions []string) ([][]float32, error) {
	ids, err := featureTokens(t, f, questions)
	if err != nil {
		return nil, err
	}
	return m.Features(ctx, f.Layer, ids)
}

// featureTokens are the tokens of questions that count.
func featureTokens(t *tokenizer.Tokenizer, f pool.Feature, questions []string) ([][]int32, error) {
	ids := make([][]int32, len(questions))
	for i, q := range questions {
		if ids[i] = t.Encode(q); len(ids[i]) == 0 {
			return nil, &fault.Error{Op: "feature", Path: fmt.Sprintf("question %d", i+1), Err: fmt.Errorf("the question is empty"), Exit: fault.ExitUsage}
		}
		ids[i] = ids[i][:min(len(ids[i]), f.MaxTokens)]
	}
	return ids, nil
}

// Question is a prompt with the answers to choose from.
type Question struct {
	Prompt  []int32
	Choices []string
	Row     []float32
}

// Total is the log-probability of one choice, its end token included.
type Total struct {
	Sum    float64 // natural log
	Tokens int
}

// Totals are the log-probabilities of every choice of every question.
func (d *Device) Totals(ctx context.Context, qs []Question) ([][]Total, error) {
	lps, err := d.Model.LogProbsBy(ctx, d.asks(qs), d.batch.forward)
	if err != nil {
		return nil, err
	}
	totals := make([][]Total, len(qs))
	for i, answers := range lps {
		totals[i] = make([]Total, len(answers))
		for j, lp := range answers {
			t := &totals[i][j]
			t.Tokens = len(lp)
			for _, x := range lp {
				t.Sum += float64(x)
			}
		}
	}
	return totals, nil
}

// Score is the mean log-probability per token (end token included) of every
// choice of every question.
func (d *Device) Score(ctx context.Context, qs []Question) ([][]float64, error) {
	totals, err := d.Totals(ctx, qs)
	if err != nil {
		return nil, err
	}
	scores := make([][]float64, len(qs))
	for i, answers := range totals {
		scores[i] = make([]float64, len(answers))
		for j, t := range answers {
			scores[i][j] = t.Sum / float64(max(1, t.Tokens))
		}
	}
	return scores, nil
}

// Choice is the answer a constrained decoding picked.
type Choice struct {
	Index    int
	Scores   []float64 // mean log-probability a token, by choice
	LogProbs []float32 // of the picked answer's tokens, end token included
	Cached   int       // tokens of the prompt that the prefix cache knew
}

// Choose decodes a question constrained to its choices.
func (d *Device) Choose(ctx context.Context, q Question) (Choice, error) {
	if len(q.Choices) == 0 {
		return Choice{}, &fault.Error{Op: "choose", Err: errors.New("there is nothing to choose from"), Exit: fault.ExitUsage}
	}
	asks := d.asks([]Question{q})
	ask := &asks[0]
	ask.Cache = d.Model.NewCache(len(ask.Prefix))
	cached := d.prefixes.load(ask.Row, ask.Prefix, ask.Cache)
	lps, err := d.Model.LogProbsBy(ctx, asks, d.batch.forward)
	if err != nil {
		return Choice{}, err
	}
	d.prefixes.keep(ask.Row, ask.Prefix, ask.Cache)
	c := Choice{Scores: make([]float64, len(q.Choices)), Cached: cached}
	for j, lp := range lps[0] {
		c.Scores[j] = model.Mean(lp)
	}
	c.Index = Best(c.Scores)
	c.LogProbs = lps[0][c.Index]
	return c, nil
}

// asks are questions as the model is asked them.
func (d *Device) asks(qs []Question) []model.Ask {
	asks := make([]model.Ask, len(qs))
	for i, q := range qs {
		longest := 0
		answers := make([][]int32, len(q.Choices))
		for j, c := range q.Choices {
			answers[j] = d.Form.Answer(c)
			longest = max(longest, len(answers[j]))
		}
		asks[i] = model.Ask{Prefix: task.Cut(q.Prompt, d.Model.Config.Context-longest), Answers: answers, Row: d.row(q.Row)}
	}
	return asks
}

// Best is the index of the largest score, the first at a tie.
func Best(scores []float64) int {
	best := 0
	for i, s := range scores {
		if s > scores[best] {
			best = i
		}
	}
	return best
}

// probe is what the effect of an adapter is tried on.
const probe = "What would you like to know?"

// Effect is how far the row's blend moves the logits of a probe prompt: the
// root mean square of the change over the vocabulary. 0 means it does nothing.
func (d *Device) Effect(ctx context.Context, row []float32) (float64, error) {
	prompt, err := d.Form.Prompt(probe)
	if err != nil {
		return 0, err
	}
	var base []float32
	var sum float64
	in := []model.Input{
		{Cache: d.Model.NewCache(len(prompt)), Tokens: prompt, Want: model.WantLast},
		{Cache: d.Model.NewCache(len(prompt)), Tokens: prompt, Row: row, Want: model.WantLast},
	}
	err = d.batch.forward(ctx, in, func(input, _ int, logits []float32) error {
		if input == 0 {
			base = append(base, logits...)
			return nil
		}
		for i, l := range logits {
			x := float64(l - base[i])
			sum += x * x
		}
		return nil
	})
	return math.Sqrt(sum / float64(max(1, len(base)))), err
}
