package device

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/model"
	"crayon/internal/tokenizer"
)

// Request is one answer to be generated.
type Request struct {
	Prompt    []int32
	Row       []float32 // adapter weights a stacked row; nil is the base model
	MaxTokens int       // 0: until the end token or the context is full
	Stop      []string  // the answer ends before the first of these
	model.Sampling
}

// Piece is a generated token and the text it settles: text that could still
// become part of a stop string, or half a character, is held back.
type Piece struct {
	Token   int32
	LogProb float32 // natural, under the model's own distribution
	Text    string
}

// Result is a finished answer.
type Result struct {
	Text         string
	PromptTokens int
	Tokens       int
	LogProbs     []float32 // of the answer's tokens, the end token included
	Finish       string    // "stop" or "length"
}

// ErrEnough, returned by emit, ends the generation without an error.
var ErrEnough = errors.New("enough")

// Generate answers req token by token. emit may be nil.
func (d *Device) Generate(ctx context.Context, req Request, emit func(Piece) error) (Result, error) {
	res := Result{PromptTokens: len(req.Prompt)}
	if err := req.Sampling.Check(); err != nil {
		return res, err
	}
	room := d.Model.Config.Context - len(req.Prompt)
	if len(req.Prompt) == 0 || room < 1 {
		return res, &fault.Error{Op: "answer", Err: fmt.Errorf("a prompt of %d tokens leaves no room in the context of %d", len(req.Prompt), d.Model.Config.Context),
			Hint: "shorten the prompt or the conversation", Exit: fault.ExitUsage}
	}
	if req.MaxTokens > 0 {
		room = min(room, req.MaxTokens)
	}
	g := &generation{d: d, ends: d.Tokenizer.EndOfTurn(), stream: d.Tokenizer.Stream(), stop: stopper{stops: req.Stop}}
	sampler := model.NewSampler(req.Sampling)
	cache := d.Model.NewCache(len(req.Prompt) + min(room, 256))
	tokens := req.Prompt
	res.Finish = "length"
	for res.Tokens < room {
		var id int32
		var lp float32
		err := d.Model.Forward(ctx, d.side, []model.Input{{Cache: cache, Tokens: tokens, Row: req.Row, Want: model.WantLast}},
			func(_, _ int, logits []float32) error {
				id, lp = sampler.Next(logits)
				return nil
			})
		if err != nil {
			return res, err
		}
		res.Tokens++
		res.LogProbs = append(res.LogProbs, lp)
		text, done := g.next(id)
		if done {
			res.Finish = "stop"
		} else if res.Tokens == room {
			text += g.flush()
		}
		res.Text += text
		if emit != nil {
			if err := emit(Piece{Token: id, LogProb: lp, Text: text}); err != nil {
				if errors.Is(err, ErrEnough) {
					return res, nil
				}
				return res, err
			}
		}
		if done {
			break
		}
		tokens = []int32{id}
	}
	return res, nil
}

// generation turns tokens into settled text.
type generation struct {
	d      *Device
	ends   []int32
	stream *tokenizer.Stream
	stop   stopper
}

// next takes a token; done when it ends the answer.
func (g *generation) next(id int32) (text string, done bool) {
	if slices.Contains(g.ends, id) {
		return g.flush(), true
	}
	if g.d.Tokenizer.IsSpecial(id) {
		return "", false
	}
	return g.stop.add(g.stream.Add(id))
}

func (g *generation) flush() string {
	text, done := g.stop.add(g.stream.Flush())
	if done {
		return text
	}
	return text + g.stop.rest()
}

// stopper holds back text that may be the beginning of a stop string.
type stopper struct {
	stops []string
	held  string
}

// add takes new text and returns what is settled, and whether a stop string came.
func (s *stopper) add(text string) (string, bool) {
	s.held += text
	at := -1
	for _, stop := range s.stops {
		if i := strings.Index(s.held, stop); stop != "" && i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at >= 0 {
		out := s.held[:at]
		s.held = ""
		return out, true
	}
	keep := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(s.held)); n > keep; n-- {
			if strings.HasSuffix(s.held, stop[:n]) {
				keep = n
			}
		}
	}
	out := s.held[:len(s.held)-keep]
	s.held = s.held[len(out):]
	return out, false
}

func (s *stopper) rest() string {
	out := s.held
	s.held = ""
	return out
}

// Confidence is the mean and the least probability of the tokens.
func Confidence(logProbs []float32) (mean, least float64) {
	if len(logProbs) == 0 {
		return 0, 0
	}
	least = 1
	for _, lp := range logProbs {
		p := math.Exp(float64(lp))
		mean += p
		least = min(least, p)
	}
	return mean / float64(len(logProbs)), least
}
