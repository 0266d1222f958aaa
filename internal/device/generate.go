package device

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/tokenizer"
)

// Request is one answer to be generated.
type Request struct {
	Prompt    []int32
	Row       []float32 // adapter weights a stacked row; nil is the base model, with the device's Adapter if there is one
	MaxTokens int       // 0: until the end token or the context is full
	Stop      []string  // the answer ends before the first of these
	Top       int       // likeliest tokens to report at every position; 0 none
	model.Sampling
}

// ErrContext is the cause when a prompt leaves no room for an answer.
var ErrContext = errors.New("the prompt does not fit the model's context")

// Likely is a token and its natural log-probability.
type Likely struct {
	Token   int32
	LogProb float32
}

// Piece is a generated token and the text it settles: text that could still
// become part of a stop string, or half a character, is held back.
type Piece struct {
	Token   int32
	LogProb float32 // natural, under the model's own distribution
	Text    string
	Top     []Likely // the likeliest tokens here, best first, as many as Request.Top
}

// Result is a finished answer.
type Result struct {
	Text         string
	PromptTokens int
	CachedTokens int // of those, what the prefix cache knew
	Tokens       int
	LogProbs     []float32 // of the answer's tokens, the end token included
	Finish       string    // "stop" or "length"
}

// Generation is an answer being made. It can be left and taken up again: no
// token is computed twice. Generations of one device that are under way at the
// same time share forward passes; each is for one goroutine at a time.
type Generation struct {
	d       *Device
	req     Request
	room    int
	cache   *model.Cache // nil before the first Next or Echo
	sampler *model.Sampler
	turn    turn
	taken   func(part, token int, logits []float32) error // take, made once
	logits  []float32                                     // of the next token, from a pass with others
	drawn   bool                                          // ready was drawn within the pass
	ready   Piece                                         // the next token, if echo drew it or drawn
	given   [1]int32                                      // the token last given out, not yet computed
	echo    []Piece                                       // by Echo, as far as it came
	echoed  bool                                          // ready is the token after the prompt, not yet given out
	stream  *tokenizer.Stream
	stop    stopper
	ends    []int32
	answer  []int32
	text    strings.Builder
	res     Result
	done    bool
}

// Start checks req; the first Next computes the prompt.
func (d *Device) Start(req Request) (*Generation, error) {
	if err := req.Sampling.Check(); err != nil {
		return nil, err
	}
	room := d.Model.Config.Context - len(req.Prompt)
	if len(req.Prompt) == 0 || room < 1 {
		return nil, &fault.Error{Op: "answer", Err: fmt.Errorf("%w: it has %d tokens, the context %d", ErrContext, len(req.Prompt), d.Model.Config.Context),
			Hint: "shorten the prompt or the conversation", Exit: fault.ExitUsage}
	}
	if req.MaxTokens > 0 {
		room = min(room, req.MaxTokens)
	}
	req.Row = d.row(req.Row)
	g := &Generation{
		d: d, req: req, room: room,
		turn:    turn{seat: d.batch.newSeat(), wake: make(chan struct{}, 1), parts: make([]part, 1)},
		sampler: model.NewSampler(req.Sampling),
		stream:  d.Tokenizer.Stream(),
		stop:    stopper{stops: req.Stop},
		ends:    d.Tokenizer.EndOfTurn(),
		res:     Result{PromptTokens: len(req.Prompt), Finish: "length"},
	}
	g.taken = g.take
	g.turn.emit = g.taken
	return g, nil
}

// Next makes one token; false when the answer has ended.
func (g *Generation) Next(ctx context.Context) (Piece, bool, error) {
	if g.done || g.res.Tokens >= g.room {
		return Piece{}, false, nil
	}
	if !g.echoed {
		if err := g.draw(ctx); err != nil {
			return Piece{}, false, err
		}
	}
	p := g.ready
	g.ready, g.echoed = Piece{}, false
	g.given[0] = p.Token
	g.want(g.given[:], model.WantLast)
	g.turn.emit = g.taken
	g.answer = append(g.answer, p.Token)
	g.res.Tokens++
	g.res.LogProbs = append(g.res.LogProbs, p.LogProb)
	p.Text = g.settle(p.Token)
	g.text.WriteString(p.Text)
	if g.done || g.res.Tokens >= g.room {
		g.end()
	}
	return p, true, nil
}

// want says what is to be computed next.
func (g *Generation) want(tokens []int32, want model.Want) {
	g.turn.parts[0] = part{Input: model.Input{Cache: g.cache, Tokens: tokens, Row: g.req.Row, Want: want}}
}

// draw computes what is not yet computed and draws the next token.
func (g *Generation) draw(ctx context.Context) error {
	prompt := g.req.Prompt
	if g.cache == nil {
		g.cache = g.d.Model.NewCache(len(prompt) + min(g.room, 256))
		g.res.CachedTokens = g.d.prefixes.load(g.req.Row, prompt, g.cache)
		g.want(prompt[g.res.CachedTokens:], model.WantLast)
	}
	if err := g.d.batch.run(ctx, &g.turn); err != nil {
		return err
	}
	if !g.drawn {
		g.ready = g.sample(g.logits)
	}
	g.drawn = false
	if g.res.Tokens == 0 {
		g.d.prefixes.keep(g.req.Row, prompt, g.cache)
	}
	return nil
}

// take hears the logits of the next token. In a pass with others drawing can
// wait until the pass is over.
func (g *Generation) take(_, _ int, logits []float32) error {
	if g.drawn = g.turn.lone; g.drawn {
		g.ready = g.sample(logits)
	} else {
		g.logits = append(g.logits[:0], logits...)
	}
	return nil
}

// end gives the seat up, and keeps the answer for the conversation's next turn.
func (g *Generation) end() {
	g.d.batch.gone(g.turn.seat)
	if g.d.prefixes != nil {
		g.d.prefixes.keep(g.req.Row, slices.Concat(g.req.Prompt, g.answer)[:g.cache.Len()], g.cache)
	}
}

func (g *Generation) sample(logits []float32) Piece {
	p := Piece{Top: likeliest(logits, g.req.Top)}
	p.Token, p.LogProb = g.sampler.Next(logits)
	return p
}

// Echo computes the prompt and returns its tokens, each with its
// log-probability given those before it; the first, which has none, has NaN.
// It comes before the first Next, which goes on from there.
func (g *Generation) Echo(ctx context.Context) ([]Piece, error) {
	prompt := g.req.Prompt
	if g.echo == nil {
		g.echo = make([]Piece, len(prompt))
		g.echo[0] = Piece{Token: prompt[0], LogProb: float32(math.NaN())}
		// Every token's logits are wanted, so none can come from the prefix cache.
		g.cache = g.d.Model.NewCache(len(prompt) + min(g.room, 256))
		g.want(prompt, model.WantAll)
		g.turn.emit = g.hear
	}
	if !g.echoed {
		if err := g.draw(ctx); err != nil {
			return nil, err
		}
		g.echoed = true
	}
	return g.echo, nil
}

// hear is take for Echo.
func (g *Generation) hear(_, i int, logits []float32) error {
	if i++; i == len(g.echo) {
		return g.take(0, 0, logits)
	}
	id := g.req.Prompt[i]
	g.echo[i] = Piece{Token: id, LogProb: logits[id] - kernel.LogSumExp(logits), Top: likeliest(logits, g.req.Top)}
	return nil
}

// likeliest is the n tokens of the largest logits, best first, the lower id at
// a tie.
func likeliest(logits []float32, n int) []Likely {
	if n == 0 {
		return nil
	}
	norm := kernel.LogSumExp(logits)
	best := make([]Likely, 0, n+1)
	for id, l := range logits {
		lp := l - norm
		if len(best) == n && lp <= best[n-1].LogProb {
			continue
		}
		at := len(best)
		for at > 0 && lp > best[at-1].LogProb {
			at--
		}
		best = slices.Insert(best, at, Likely{int32(id), lp})
		best = best[:min(len(best), n)]
	}
	return best
}

// Result is the answer so far.
func (g *Generation) Result() Result {
	r := g.res
	r.Text = g.text.String()
	return r
}

// settle takes a token and returns the text it settles.
func (g *Generation) settle(id int32) string {
	if slices.Contains(g.ends, id) {
		g.done, g.res.Finish = true, "stop"
		return g.flush()
	}
	text := ""
	if !g.d.Tokenizer.IsSpecial(id) {
		var stopped bool
		if text, stopped = g.stop.add(g.stream.Add(id)); stopped {
			g.done, g.res.Finish = true, "stop"
			return text
		}
	}
	if g.res.Tokens == g.room {
		text += g.flush()
	}
	return text
}

// flush gives out what was held back for a stop string or a whole character.
func (g *Generation) flush() string {
	text, stopped := g.stop.add(g.stream.Flush())
	if stopped {
		g.done, g.res.Finish = true, "stop"
		return text
	}
	return text + g.stop.rest()
}

// Generate makes a whole answer.
func (d *Device) Generate(ctx context.Context, req Request) (Result, error) {
	g, err := d.Start(req)
	if err != nil {
		return Result{}, err
	}
	for {
		if _, more, err := g.Next(ctx); err != nil || !more {
			return g.Result(), err
		}
	}
}

// stopper holds back text that may be the beginning of a stop string.
type stopper struct {
	stops []string
	held  string
}

// add takes new text and returns what is settled, and whether a stop string came.
func (s *stopper) add(text string) (string, bool) {
	s.held += text
	// The stop string that is whole first, and of those the longest, however the
	// text was cut into tokens.
	at, end := -1, 0
	for _, stop := range s.stops {
		i := strings.Index(s.held, stop)
		if stop == "" || i < 0 {
			continue
		}
		if e := i + len(stop); at < 0 || e < end || e == end && i < at {
			at, end = i, e
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
