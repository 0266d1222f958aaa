package server

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"

	"crayon/internal/device"
	"crayon/internal/hybrid"
	"crayon/internal/route"
	"crayon/internal/tokenizer"
)

type usage struct {
	Prompt     int           `json:"prompt_tokens"`
	Completion int           `json:"completion_tokens"`
	Total      int           `json:"total_tokens"`
	Details    promptDetails `json:"prompt_tokens_details"`
}

type promptDetails struct {
	Cached int `json:"cached_tokens"` // known from earlier prompts, and not computed again
}

func newUsage(prompt, cached, completion int) *usage {
	return &usage{prompt, completion, prompt + completion, promptDetails{cached}}
}

type chatObject struct {
	ID          string       `json:"id"`
	Object      string       `json:"object"` // "chat.completion" or "chat.completion.chunk"
	Created     int64        `json:"created"`
	Model       string       `json:"model"`
	Fingerprint string       `json:"system_fingerprint"`
	Choices     []chatChoice `json:"choices"`
	Usage       *usage       `json:"usage,omitempty"`
}

type chatChoice struct {
	Index    int           `json:"index"`
	Message  *chatMessage  `json:"message,omitempty"`
	Delta    *chatMessage  `json:"delta,omitempty"`
	LogProbs *chatLogProbs `json:"logprobs"`
	Finish   *string       `json:"finish_reason"`
}

type chatMessage struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
	Refusal *string `json:"refusal,omitempty"`
}

type chatLogProbs struct {
	Content []chatToken `json:"content"`
}

type chatToken struct {
	Token   string      `json:"token"`
	LogProb float32     `json:"logprob"`
	Bytes   []int       `json:"bytes"`
	Top     []chatToken `json:"top_logprobs,omitempty"`
}

func (s *Server) chatCompletions(w http.ResponseWriter, r *http.Request) error {
	force, mode, err := sideOf(r)
	if err != nil {
		return err
	}
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	req, msgs, err := parseChat(data)
	if err != nil {
		return err
	}
	ctx := r.Context()
	note := noteOf(ctx)
	if err := s.answers.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.answers.Release(1)
	if req.needs != nil {
		return s.pass(w, r, req, data, force, mode)
	}
	q := hybrid.Query{Messages: msgs, Choices: req.choices, Force: force, Mode: mode, Stop: req.Stop, Top: req.top(), SendSeed: req.Seed != nil}
	if q.Custom, err = s.shelf.find(ctx, req.Model); err != nil {
		return err
	}
	if err := mark(&q, r, req); err != nil {
		return err
	}
	note.attrs = append(note.attrs, slog.String("model", req.Model), slog.Bool("stream", req.Stream))
	if q.Sampling, err = req.sampling(); err != nil {
		return err
	}
	if req.MaxTokens != nil {
		q.MaxTokens = *req.MaxTokens
	}
	c := &chatAnswer{w: w, req: req, tok: s.opt.Hybrid.Device.Tokenizer,
		shape: chatObject{ID: "chatcmpl-" + rand.Text(), Created: time.Now().Unix(), Model: req.Model, Fingerprint: s.fingerprint()}}
	if req.Stream {
		c.events = newEvents(w)
	}
	err = c.run(ctx, s.opt.Hybrid, q)
	note.attrs = append(note.attrs, c.attrs...)
	return err
}

// fingerprint names what determines the device's answers beside the request:
// the pool, or the model where it runs without one.
func (s *Server) fingerprint() string {
	d := s.opt.Hybrid.Device
	name := d.Pool.Digest()
	if name == "" {
		name = d.Lineage
	}
	return "crayon-" + name[:min(12, len(name))]
}

// chatAnswer is an answer on its way to one client. It is the sink of the
// hybrid, hearing tokens where their log-probabilities are asked for.
type chatAnswer struct {
	w      http.ResponseWriter
	req    *chatRequest
	tok    *tokenizer.Tokenizer
	shape  chatObject
	events *events // nil when not a stream
	spoke  bool
	probs  []chatToken // of the device's tokens so far (a whole answer)
	attrs  []slog.Attr
}

func (c *chatAnswer) run(ctx context.Context, h *hybrid.Hybrid, q hybrid.Query) error {
	var sink hybrid.Sink = c
	if c.req.logProbs() {
		sink = tokenSink{c}
	}
	a, err := h.Answer(ctx, q, sink)
	c.attrs = append(c.attrs, slog.Int("prompt_tokens", a.PromptTokens), slog.Int("completion_tokens", a.CompletionTokens))
	switch {
	case err != nil && c.events != nil:
		return c.events.fail(err)
	case err != nil:
		return err
	case c.events != nil:
		return c.finish(a)
	}
	c.shape.Object, c.shape.Usage = "chat.completion", newUsage(a.PromptTokens, a.CachedTokens, a.CompletionTokens)
	choice := chatChoice{Message: &chatMessage{Role: "assistant", Content: &a.Text}, Finish: &a.Finish}
	if c.probs != nil {
		choice.LogProbs = &chatLogProbs{c.probs}
	}
	c.shape.Choices = []chatChoice{choice}
	return writeJSON(c.w, http.StatusOK, c.shape)
}

// finish ends a stream.
func (c *chatAnswer) finish(a hybrid.Answer) error {
	if err := c.begin(); err != nil {
		return err
	}
	if err := c.chunk(chatChoice{Delta: &chatMessage{}, Finish: &a.Finish}); err != nil {
		return err
	}
	if c.req.StreamOptions.IncludeUsage {
		last := c.shape
		last.Object, last.Choices, last.Usage = "chat.completion.chunk", []chatChoice{}, newUsage(a.PromptTokens, a.CachedTokens, a.CompletionTokens)
		if err := c.events.send(last); err != nil {
			return err
		}
	}
	return c.events.done()
}

// Decided puts the decision into the response's headers, which leave with the
// first piece.
func (c *chatAnswer) Decided(d route.Decision) error {
	setDecision(c.w, d)
	c.attrs = append(c.attrs, slog.String("route", string(d.Route)), slog.String("reason", string(d.Reason)), slog.Bool("degraded", d.Degraded))
	return nil
}

func setDecision(w http.ResponseWriter, d route.Decision) {
	for name, v := range d.Header() {
		w.Header()[name] = v
	}
}

// Text sends a piece of the answer on.
func (c *chatAnswer) Text(text string) error { return c.say(text, nil) }

func (c *chatAnswer) say(text string, probs []chatToken) error {
	if c.events == nil {
		c.probs = append(c.probs, probs...)
		return nil
	}
	if text == "" && probs == nil {
		return nil
	}
	if err := c.begin(); err != nil {
		return err
	}
	choice := chatChoice{Delta: &chatMessage{Content: &text}}
	if probs != nil {
		choice.LogProbs = &chatLogProbs{probs}
	}
	return c.chunk(choice)
}

// begin sends the chunk that says whose turn it is.
func (c *chatAnswer) begin() error {
	if c.spoke {
		return nil
	}
	c.spoke = true
	none := ""
	return c.chunk(chatChoice{Delta: &chatMessage{Role: "assistant", Content: &none}})
}

func (c *chatAnswer) chunk(choice chatChoice) error {
	chunk := c.shape
	chunk.Object, chunk.Choices = "chat.completion.chunk", []chatChoice{choice}
	return c.events.send(chunk)
}

// tokenSink hears tokens in place of text.
type tokenSink struct{ *chatAnswer }

func (t tokenSink) Token(p device.Piece) error {
	if t.tok.IsSpecial(p.Token) {
		return t.say(p.Text, nil) // the end of the turn is none of the answer's tokens
	}
	token := t.token(p.Token, p.LogProb)
	for _, l := range p.Top {
		token.Top = append(token.Top, t.token(l.Token, l.LogProb))
	}
	return t.say(p.Text, []chatToken{token})
}

func (t tokenSink) token(id int32, logProb float32) chatToken {
	b := t.tok.Bytes(id)
	out := chatToken{Token: string(b), LogProb: logProb, Bytes: make([]int, len(b))}
	for i, x := range b {
		out.Bytes[i] = int(x)
	}
	return out
}
