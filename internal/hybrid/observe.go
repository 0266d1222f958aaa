package hybrid

import (
	"context"
	"slices"
	"strconv"

	"crayon/internal/device"
	"crayon/internal/model"
	"crayon/internal/route"
	"crayon/internal/route/signal"
	"crayon/internal/strategy"
)

// observe begins the observation with what is known before the draft.
func (w *work) observe(p *profile, earlier [][]float32, last []float32) {
	n := len(w.q.Messages)
	in, tok := w.d.Pool, w.d.Tokenizer
	question := w.q.Messages[n-1].Content
	w.profile = p
	w.seen = signal.Observation{
		Query: question, Context: w.q.Context, QueryTokens: len(tok.Encode(question)),
		Direction: last, Earlier: earlier, Examples: p.examples, Own: p.own,
		Similarity: in.Similarity(last), Tau: float64(in.Feature.Tau), Blend: p.blend, Turns: n - 1,
		ProofRows: p.proofRows, ProofRight: p.proofRight,
	}
	if w.q.Context != "" {
		w.seen.ContextTokens = len(tok.Encode(w.q.Context))
	}
	if n > 1 {
		w.h.mu.Lock()
		w.seen.Past = slices.Clone(w.h.past.of[conversation(w.q.Messages[:n-1])])
		w.h.mu.Unlock()
	}
	w.signals.Turns, w.signals.Earlier = n-1, len(earlier)
	if len(w.seen.Similarity) > 0 {
		w.signals.Cluster = strconv.Itoa(nearest(w.seen.Similarity))
	}
	w.measure()
	if len(earlier) > 0 {
		w.signals.ScopeUser = float32(w.signals.Values.Get("scope"))
	}
}

func (w *work) measure() { w.signals.Values = signal.Measure(w.seen) }

func nearest(similarity []float32) int { return slices.Index(similarity, slices.Max(similarity)) }

// drafted adds the tokens of the draft.
func (w *work) drafted(probs []float32, ended bool) {
	w.signals = w.signals.WithDraft(probs)
	if w.profile == nil {
		return
	}
	w.seen.Draft, w.seen.Ended = nil, ended
	for _, p := range probs[:w.signals.Tokens] {
		w.seen.Draft = append(w.seen.Draft, float64(p))
	}
	w.measure()
}

// chosen adds the labels' scores; others are those of other strategies, table the
// features of the plan's stack.
func (w *work) chosen(scores []float64, others map[string][]float64, table strategy.Table) {
	if w.profile == nil {
		return
	}
	w.seen.Choices, w.seen.Others, w.seen.Answers = scores, others, w.answers()
	w.seen.Features, w.seen.Table = table.Features, table.X
}

// answers are the examples' in a label task, each as its place among what this
// query may be answered, -1 for none.
func (w *work) answers() []int {
	own := w.profile.answers
	if w.q.Choices == nil || own == nil {
		return own
	}
	out := make([]int, len(own))
	for i, a := range own {
		if out[i] = -1; a >= 0 {
			out[i] = slices.Index(w.q.Choices, w.q.Custom.Labels[a])
		}
	}
	return out
}

// ranked are mean log-probabilities as the scores that plans have.
func ranked(c *device.Choice) []float64 {
	out := make([]float64, len(c.Scores))
	for i, s := range c.Scores {
		out[i] = strategy.RankScale * s
	}
	return out
}

// sampleTemperature is that of further drafts.
const sampleTemperature = 0.8

// sample makes further drafts, drawn at random, and measures how far they agree
// with the first. It is off unless the policy asks for it: each costs as much as
// the draft did.
func (w *work) sample(ctx context.Context) error {
	if w.profile == nil || w.h.Policy.Samples <= 0 || len(w.pieces) == 0 {
		return nil
	}
	var first string
	for _, p := range w.pieces {
		first += p.Text
	}
	w.seen.Samples = nil
	for i := range w.h.Policy.Samples {
		g, err := w.d.Start(device.Request{Prompt: w.prompt, Row: w.row, MaxTokens: route.DraftTokens, Stop: w.q.Stop,
			Sampling: model.Sampling{Temperature: sampleTemperature, Seed: uint64(i + 1)}})
		if err != nil {
			return err
		}
		var text string
		for {
			p, more, err := g.Next(ctx)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			text += p.Text
		}
		w.seen.Samples = append(w.seen.Samples, Agreement(first, text))
	}
	w.measure()
	return nil
}
