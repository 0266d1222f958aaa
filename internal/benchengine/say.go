package benchengine

import (
	"context"
	"math"
	"slices"
	"strings"

	"crayon/internal/adapter"
	"crayon/internal/model"
	"crayon/internal/strategy"
)

// Say implements bench.Speaker: the greedy answer to each ask on the device,
// what the product says at temperature 0.
func (e *Engine) Say(ctx context.Context, asks []strategy.Ask, tokens int) ([]string, error) {
	voices, err := e.say(ctx, asks, tokens)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(asks))
	for i, v := range voices {
		out[i] = strings.ToValidUTF8(e.d.Tokenizer.Decode(v.said), "\uFFFD")
	}
	return out, nil
}

// Draft is Say as the router sees it: the probability of each token of the greedy
// answer, and whether the answer ends within them.
func (e *Engine) Draft(ctx context.Context, asks []strategy.Ask, tokens int) (probs [][]float64, ended []bool, err error) {
	voices, err := e.say(ctx, asks, tokens)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range voices {
		probs, ended = append(probs, v.probs), append(ended, v.done)
	}
	return probs, ended, nil
}

// say generates an answer to each ask.
func (e *Engine) say(ctx context.Context, asks []strategy.Ask, tokens int) ([]*voice, error) {
	sides := map[*adapter.Stack]*model.Side{}
	out := make([]*voice, len(asks))
	for lo := 0; lo < len(asks); lo += together {
		hi := min(lo+together, len(asks))
		byStack := map[*adapter.Stack][]int{}
		rows := make([][]float32, hi-lo)
		var order []*adapter.Stack
		for i := lo; i < hi; i++ {
			stack, row, err := e.stack(&asks[i])
			if err != nil {
				return nil, err
			}
			if byStack[stack] == nil {
				order = append(order, stack)
			}
			byStack[stack], rows[i-lo] = append(byStack[stack], i), row
		}
		for _, stack := range order {
			side, err := sideOf(ctx, e.d, sides, stack)
			if err != nil {
				return nil, err
			}
			var voices []*voice
			for _, i := range byStack[stack] {
				prompt, err := e.prompt(&asks[i], tokens)
				if err != nil {
					return nil, err
				}
				voices = append(voices, &voice{cache: e.d.Model.NewCache(len(prompt) + tokens), next: prompt, row: rows[i-lo], at: i})
			}
			if err := e.speak(ctx, side, voices, tokens); err != nil {
				return nil, err
			}
			for _, v := range voices {
				v.cache = nil
				out[v.at] = v
			}
		}
	}
	return out, nil
}

// together is how many answers are generated at once.
const together = 16

// voice is one answer in the making.
type voice struct {
	cache      *model.Cache
	next, said []int32   // not computed yet; the answer
	probs      []float64 // of each token of the answer
	row        []float32
	at         int
	done       bool
}

// speak generates until every voice has ended or said so many tokens.
func (e *Engine) speak(ctx context.Context, side *model.Side, voices []*voice, tokens int) error {
	ends := e.d.Tokenizer.EndOfTurn()
	for range tokens {
		var in []model.Input
		var who []*voice
		for _, v := range voices {
			if !v.done {
				in = append(in, model.Input{Cache: v.cache, Tokens: v.next, Row: v.row, Want: model.WantLast})
				who = append(who, v)
			}
		}
		if len(in) == 0 {
			return nil
		}
		err := e.d.Model.Forward(ctx, side, in, func(i, _ int, logits []float32) error {
			best := 0
			for t, x := range logits {
				if x > logits[best] {
					best = t
				}
			}
			v := who[i]
			if token := int32(best); slices.Contains(ends, token) {
				v.done = true
			} else {
				v.said, v.next = append(v.said, token), []int32{token}
				var whole float64
				for _, x := range logits {
					whole += math.Exp(float64(x - logits[best]))
				}
				v.probs = append(v.probs, 1/whole)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
