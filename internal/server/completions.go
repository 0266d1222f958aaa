package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/model"
	"crayon/internal/route"
	"crayon/internal/tokenizer"
)

type completionObject struct {
	ID          string             `json:"id"`
	Object      string             `json:"object"` // "text_completion"
	Created     int64              `json:"created"`
	Model       string             `json:"model"`
	Fingerprint string             `json:"system_fingerprint"`
	Choices     []completionChoice `json:"choices"`
	Usage       *usage             `json:"usage,omitempty"`
}

type completionChoice struct {
	Text     string    `json:"text"`
	Index    int       `json:"index"`
	LogProbs *logProbs `json:"logprobs"`
	Finish   *string   `json:"finish_reason"`
}

// logProbs are parallel lists, one entry a token: with echo the prompt's, then
// those generated, the token that ended the text included, so that their number
// tells how many there were. The first of a text has no log-probability.
type logProbs struct {
	Tokens []string             `json:"tokens"`
	Values []*float32           `json:"token_logprobs"`
	Top    []map[string]float32 `json:"top_logprobs"`
	Offset []int                `json:"text_offset"` // of the token in the choice's text, in code points
}

func newLogProbs() *logProbs {
	return &logProbs{Tokens: []string{}, Values: []*float32{}, Top: []map[string]float32{}, Offset: []int{}}
}

// completions continues raw text on the device: no template, no labels, and
// special tokens only where ids name them. A raw text has no question whose
// scope could be told, so it is never sent to the server.
func (s *Server) completions(w http.ResponseWriter, r *http.Request) error {
	decision, err := s.decideRaw(r)
	if err != nil {
		return err
	}
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	req, err := parseCompletion(data)
	if err != nil {
		return err
	}
	ctx := r.Context()
	note := noteOf(ctx)
	if err := s.answers.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.answers.Release(1)
	c := &completion{d: s.opt.Hybrid.Device, req: req,
		shape: completionObject{ID: "cmpl-" + rand.Text(), Object: "text_completion", Created: time.Now().Unix(), Model: req.Model, Fingerprint: s.fingerprint()}}
	custom, err := s.shelf.find(ctx, req.Model)
	if err != nil {
		return err
	}
	if custom != nil {
		q, err := custom.Query(ctx, c.d, "", "", nil, nil)
		if err != nil {
			return err
		}
		defer q.Close()
		c.row = q.Row
	}
	note.attrs = append(note.attrs, slog.String("model", req.Model), slog.Bool("stream", req.Stream))
	if c.sampling, err = req.sampling(); err != nil {
		return err
	}
	prompts, err := c.encode()
	if err != nil {
		return err
	}
	setDecision(w, decision)
	if req.Stream {
		c.events = newEvents(w)
	}
	err = c.run(ctx, prompts)
	note.attrs = append(note.attrs, slog.String("route", string(decision.Route)), slog.String("reason", string(decision.Reason)),
		slog.Int("prompts", len(prompts)), slog.Int("prompt_tokens", c.prompt), slog.Int("completion_tokens", c.made))
	switch {
	case err != nil && c.events != nil:
		return c.events.fail(err)
	case err != nil:
		return err
	case c.events != nil:
		if req.StreamOptions.IncludeUsage {
			c.shape.Choices, c.shape.Usage = []completionChoice{}, newUsage(c.prompt, c.cached, c.made)
			if err := c.events.send(c.shape); err != nil {
				return err
			}
		}
		return c.events.done()
	}
	c.shape.Usage = newUsage(c.prompt, c.cached, c.made)
	return writeJSON(w, http.StatusOK, c.shape)
}

// decideRaw is the decision on a raw text: the device, unless the server is
// asked for, which can't be had.
func (s *Server) decideRaw(r *http.Request) (route.Decision, error) {
	force, mode, err := sideOf(r)
	if err != nil {
		return route.Decision{}, err
	}
	h := s.opt.Hybrid
	if mode == "" {
		mode = h.Policy.KeyModes[clientOf(r)]
	}
	if mode == "" {
		mode = h.Policy.Mode
	}
	if force == route.Server || force == "" && mode == route.ServerOnly {
		return route.Decision{}, &HTTPError{Status: http.StatusBadRequest, Code: "device_only", Param: route.HeaderRoute,
			Message: "raw completions are made on the device only; use /v1/chat/completions for the server"}
	}
	return route.Decide(route.Unmeasured(), route.Off(), route.Setting{Mode: mode, Force: route.Device, LocalOnly: h.LocalOnly, HasServer: len(h.Servers) > 0})
}

// completion is the answer to one request, a choice a prompt.
type completion struct {
	d        *device.Device
	req      *completionRequest
	row      []float32
	sampling model.Sampling
	shape    completionObject
	events   *events // nil when not a stream

	prompt, cached, made int // tokens
}

// prompt is one text to be continued.
type prompt struct {
	text   string
	ids    []int32
	silent int // tokens at its begin that are not in the text
}

// encode reads and checks every prompt before the first is computed.
func (c *completion) encode() ([]prompt, error) {
	all := make([]prompt, 0, c.req.Prompt.len())
	most := c.d.Model.Config.Context
	for i := range c.req.Prompt.len() {
		p, err := c.encodeOne(i)
		switch {
		case err != nil:
			return nil, err
		case len(p.ids) == p.silent:
			return nil, badField("prompt", "prompt %d is empty", i)
		case len(p.ids) >= most:
			return nil, &fault.Error{Op: "complete", Path: fmt.Sprintf("prompt %d", i), Exit: fault.ExitUsage,
				Err: fmt.Errorf("%w: it has %d tokens, the context %d", device.ErrContext, len(p.ids), most)}
		}
		all = append(all, p)
		c.prompt += len(p.ids)
	}
	return all, nil
}

func (c *completion) encodeOne(i int) (prompt, error) {
	t := c.d.Tokenizer
	if c.req.Prompt.ids == nil {
		p := prompt{text: c.req.Prompt.texts[i]}
		if bos, ok := t.BOS(); ok && t.AddBOS() {
			p.ids, p.silent = append(p.ids, bos), 1
		}
		p.ids = append(p.ids, t.Encode(p.text)...)
		return p, nil
	}
	p := prompt{ids: c.req.Prompt.ids[i]}
	st := t.Stream()
	var text strings.Builder
	for j, id := range p.ids {
		if id < 0 || int(id) >= c.d.Model.Config.Vocab {
			return p, badField("prompt", "prompt %d, token %d: %d is outside the vocabulary of %d", i, j, id, c.d.Model.Config.Vocab)
		}
		text.WriteString(st.Add(id))
	}
	p.text = text.String() + st.Flush()
	return p, nil
}

func (c *completion) run(ctx context.Context, prompts []prompt) error {
	for i, p := range prompts {
		if err := c.one(ctx, i, p); err != nil {
			return err
		}
	}
	return nil
}

// one makes choice i.
func (c *completion) one(ctx context.Context, i int, p prompt) error {
	gen, err := c.d.Start(device.Request{Prompt: p.ids, Row: c.row, MaxTokens: max(1, *c.req.MaxTokens), Stop: c.req.Stop, Top: c.req.top(), Sampling: c.sampling})
	if err != nil {
		return err
	}
	out := &choice{c: c, index: i, stream: c.d.Tokenizer.Stream()}
	if c.req.Echo {
		if c.req.LogProbs != nil {
			echo, err := gen.Echo(ctx)
			if err != nil {
				return err
			}
			for j, t := range echo {
				out.token(t, j >= p.silent)
			}
			out.offset += utf8.RuneCountInString(out.stream.Flush())
		}
		if err := out.say(p.text); err != nil {
			return err
		}
	}
	finish := "length"
	if *c.req.MaxTokens > 0 {
		for {
			t, more, err := gen.Next(ctx)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			out.token(t, !c.d.Tokenizer.IsSpecial(t.Token))
			if err := out.say(t.Text); err != nil {
				return err
			}
		}
		r := gen.Result()
		finish = r.Finish
		c.made, c.cached = c.made+r.Tokens, c.cached+r.CachedTokens
	}
	return out.end(finish)
}

// choice is one text as it grows.
type choice struct {
	c      *completion
	index  int
	stream *tokenizer.Stream // of the tokens, for their offsets
	offset int               // code points of the text that they make so far
	text   strings.Builder
	probs  *logProbs // not yet sent
}

// token notes a token's log-probabilities, if they are asked for. inText says
// whether it is part of the text.
func (o *choice) token(p device.Piece, inText bool) {
	if o.c.req.LogProbs == nil {
		return
	}
	if o.probs == nil {
		o.probs = newLogProbs()
	}
	name := o.c.name(p.Token)
	o.probs.Tokens = append(o.probs.Tokens, name)
	o.probs.Offset = append(o.probs.Offset, o.offset)
	if inText {
		o.offset += utf8.RuneCountInString(o.stream.Add(p.Token))
	}
	if math.IsNaN(float64(p.LogProb)) {
		o.probs.Values, o.probs.Top = append(o.probs.Values, nil), append(o.probs.Top, nil)
		return
	}
	o.probs.Values = append(o.probs.Values, &p.LogProb)
	var top map[string]float32
	if len(p.Top) > 0 {
		top = map[string]float32{name: p.LogProb} // always there, likely or not
		for _, l := range p.Top {
			n := o.c.name(l.Token)
			if had, ok := top[n]; !ok || l.LogProb > had {
				top[n] = l.LogProb
			}
		}
	}
	o.probs.Top = append(o.probs.Top, top)
}

// name is a token as text; one that is not whole characters is spelled in hex,
// as OpenAI does.
func (c *completion) name(id int32) string {
	b := c.d.Tokenizer.Bytes(id)
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	s.WriteString("bytes:")
	for _, x := range b {
		fmt.Fprintf(&s, "\\x%02x", x)
	}
	return s.String()
}

// say adds to the text and, in a stream, sends it on.
func (o *choice) say(text string) error {
	if o.c.events == nil {
		o.text.WriteString(text)
		return nil
	}
	if text == "" {
		return nil
	}
	return o.send(text, nil)
}

func (o *choice) send(text string, finish *string) error {
	chunk := o.c.shape
	chunk.Choices = []completionChoice{{Text: text, Index: o.index, LogProbs: o.probs, Finish: finish}}
	o.probs = nil
	return o.c.events.send(chunk)
}

// end says how the choice ended.
func (o *choice) end(finish string) error {
	if o.c.events != nil {
		return o.send("", &finish)
	}
	if o.probs == nil && o.c.req.LogProbs != nil {
		o.probs = newLogProbs()
	}
	o.c.shape.Choices = append(o.c.shape.Choices, completionChoice{Text: o.text.String(), Index: o.index, LogProbs: o.probs, Finish: &finish})
	return nil
}
