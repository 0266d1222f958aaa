// Package hybrid answers a query on the device or on the server: scope first,
// then a draft on the device, then the decision, and only then the first byte.
package hybrid

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"crayon/internal/chat"
	"crayon/internal/customize"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/model"
	"crayon/internal/route"
	"crayon/internal/route/record"
	"crayon/internal/route/signal"
	"crayon/internal/strategy"
	"crayon/internal/task"
	"crayon/internal/upstream"
)

// Hybrid is the device LLM with the server LLM behind it.
type Hybrid struct {
	Device    *device.Device
	Servers   []*upstream.Server // in order of preference; none: none is set
	LocalOnly bool
	Policy    Policy
	Base      string         // sha256 of the model's file, hex: what calibrations hold for; "" is not compared
	Records   *record.Folder // calibrations, the log, candidates; nil: none of them
	Log       *slog.Logger   // of what goes wrong beside an answer, and of drift; nil: nowhere

	mu       sync.Mutex
	profiles map[*customize.Customisation]*profile
	seen     memory[[]float32] // features by question
	past     memory[[]bool]    // earlier decisions by conversation: the server answered
	counts   counts
	shadows  shadows
}

// Close waits for queries that the server is asked in the shadow.
func (h *Hybrid) Close() { h.shadows.close() }

// Policy is what the configuration says about routing. A NaN threshold means:
// as the customisation says (scope), or off (pool scope, confidence).
type Policy struct {
	Mode       route.Mode
	ScopeUser  float32
	ScopePool  float32
	Confidence float32

	KeyModes map[string]route.Mode // of single keys, by Query.Key, in place of Mode

	Samples int     // further drafts to measure agreement by; each costs a draft
	Shadow  float64 // share of queries, in mode shadow, that the server is asked too
	Log     string  // LogDigests ("" too), LogText or LogOff
	Harvest string  // HarvestAsk, or HarvestOff ("" too)

	OverBudget string   // OverBudgetDevice ("" too) or OverBudgetRefuse
	Private    []string // names of customisations whose queries never leave
}

// Query is one conversation to be answered.
type Query struct {
	Messages  []chat.Message
	Custom    *customize.Customisation // nil: the bare base model
	Context   string                   // background text for the last turn; "" for none
	Choices   []string                 // the answer is one of them; nil: one of Custom's labels, or free text
	Force     route.Side               // "": as the mode says
	Mode      route.Mode               // of this query; "": as the policy says
	MaxTokens int
	Stop      []string
	Top       int  // likeliest tokens the device reports at every position; 0 none
	SendSeed  bool // the seed was asked for, so the server is told it too

	Key          string // name of the client's key, which the budget counts it under
	Conversation string // its id; "" for none. Once private, it stays so
	Private      bool   // tagged so: it does not leave
	model.Sampling
}

// Sink hears the answer as it comes: the decision once, before any text.
type Sink interface {
	Decided(route.Decision) error
	Text(string) error
}

// TokenSink is a Sink that hears the device's tokens in place of their text.
// What the server says still comes as Text. A label is told as its tokens, the
// first with all of its text.
type TokenSink interface {
	Sink
	Token(device.Piece) error
}

// Answer is a whole answer.
type Answer struct {
	Text             string
	Decision         route.Decision
	Finish           string // stop, length, ...
	Model            string // the server's name for what answered; "" for the device
	PromptTokens     int
	CachedTokens     int // of those, what the device's prefix cache knew
	CompletionTokens int
	Label            *device.Choice // set when decoding was constrained to the labels or choices
	FirstByte, Took  time.Duration
}

// ErrNoQuestion is a conversation that does not end in a user's turn.
var ErrNoQuestion = errors.New("the conversation does not end with a message of the user")

// Answer decides and answers. Before the sink's Decided is called nothing has
// been said; a server that fails before its first byte hands on to the next,
// and the last one to the device, marked.
func (h *Hybrid) Answer(ctx context.Context, q Query, sink Sink) (Answer, error) {
	start := time.Now()
	h.count(q.Key)
	w := &work{h: h, q: q, sink: sink, start: start}
	defer w.close()
	a, err := w.answer(ctx)
	if a.Decision.Route != "" {
		a.Took = time.Since(start)
		w.keep(&a, err)
	}
	return a, err
}

func (w *work) answer(ctx context.Context) (Answer, error) {
	if err := w.prepare(ctx); err != nil {
		return Answer{}, err
	}
	decision, final, err := route.DecideBeforeDraft(w.signals, w.thresholds, w.setting)
	if err != nil {
		return Answer{}, unreachable(err)
	}
	if !final {
		if err := w.makeDraft(ctx); err != nil {
			return Answer{}, err
		}
		if decision, err = route.Decide(w.signals, w.thresholds, w.setting); err != nil {
			return Answer{}, unreachable(err)
		}
	}
	if decision, err = w.barred(decision); err != nil {
		return Answer{}, err
	}
	var a Answer
	if decision.Route == route.Server {
		a, err = w.fromServer(ctx, decision)
		if w.spoke || err == nil || ctx.Err() != nil || w.q.Force == route.Server || decision.Mode == route.ServerOnly {
			return a, err
		}
		if decision, err = w.fallback(decision, err); err != nil {
			return Answer{}, err
		}
	}
	return w.fromDevice(ctx, decision)
}

// Explain decides without answering: every signal, the draft included.
func (h *Hybrid) Explain(ctx context.Context, q Query) (route.Decision, error) {
	w := &work{h: h, q: q, start: time.Now()}
	defer w.close()
	if err := w.prepare(ctx); err != nil {
		return route.Decision{}, err
	}
	if err := w.makeDraft(ctx); err != nil {
		return route.Decision{}, err
	}
	d, err := route.Decide(w.signals, w.thresholds, w.setting)
	return d, unreachable(err)
}

// ExplainEarly decides by what is known before any draft; final is false where
// a draft could change it.
func (h *Hybrid) ExplainEarly(ctx context.Context, q Query) (d route.Decision, final bool, err error) {
	w := &work{h: h, q: q, start: time.Now()}
	defer w.close()
	if err := w.prepare(ctx); err != nil {
		return route.Decision{}, false, err
	}
	d, final, err = route.DecideBeforeDraft(w.signals, w.thresholds, w.setting)
	return d, final, unreachable(err)
}

func unreachable(err error) error {
	var u *route.UnreachableError
	if !errors.As(err, &u) {
		return err
	}
	hint := "export CRAYON_SERVER_URL=http://127.0.0.1:8080/v1"
	switch u.Reason {
	case route.LocalOnly:
		hint = "leave out --local-only"
	case route.Private:
		hint = "ask the device: --route device"
		if u.Needs != nil {
			hint = "leave out what is private, or the tag"
		}
	case route.OverBudget:
		hint = "wait for the next day, or raise the budget: crayon route status"
	}
	return &fault.Error{Op: "route", Err: err, Hint: hint, Exit: fault.ExitRefused}
}

// work is one query on its way.
type work struct {
	h     *Hybrid
	d     *device.Device // as the customisation runs on it
	q     Query
	sink  Sink
	start time.Time

	msgs       []chat.Message // for a server: the last turn with context and what there is to choose from
	prompt     []int32
	custom     *customize.Query // nil: the bare base model
	row        []float32
	signals    route.Signals
	thresholds route.Thresholds
	setting    route.Setting
	seen       signal.Observation
	profile    *profile // nil: the bare base model
	judge      *judge   // the same

	draft   *device.Generation
	label   *device.Choice
	barrier error          // of the gate: why the query can't leave
	pieces  []device.Piece // drafted, not yet said
	spoke   bool
}

func (w *work) prepare(ctx context.Context) error {
	n := len(w.q.Messages)
	if n == 0 || w.q.Messages[n-1].Role != "user" {
		return &fault.Error{Op: "answer", Err: ErrNoQuestion, Exit: fault.ExitUsage}
	}
	question := w.q.Messages[n-1].Content
	w.setting = w.h.setting(w.q.Key, w.q.Mode, w.q.Force)
	w.signals = route.Unmeasured()
	w.signals.Turns = n - 1
	if err := checkChoices(w.q.Choices); err != nil {
		return err
	}
	c := w.q.Custom
	w.d = w.h.Device
	if c != nil {
		var err error
		if w.d, err = c.On(w.h.Device); err != nil {
			return err
		}
		if _, err := c.Bind(ctx, w.d); err != nil {
			return err
		}
		p, j, err := w.h.profile(c)
		if err != nil {
			return err
		}
		earlier, dir, err := w.h.directions(ctx, w.d, w.q.Messages)
		if err != nil {
			return err
		}
		w.signals = c.Signals(w.d.Pool, dir)
		w.judge = j
		w.observe(p, earlier, dir)
		w.setting.Calibration, w.setting.Calibrated, w.setting.Stale = j.calibration, j.which, j.stale
		if w.custom, err = c.Query(ctx, w.d, question, w.q.Context, w.q.Choices, dir); err != nil {
			return err
		}
		w.row = w.custom.Row
	}
	w.thresholds = w.h.thresholds(c, w.setting.Calibrated)
	w.msgs = append([]chat.Message(nil), w.q.Messages...)
	w.msgs[n-1].Content = task.Text(question, w.q.Context, w.labels())
	w.screen()
	return w.encode()
}

// setting is what holds for a query of a key that names a mode or a side, or
// neither.
func (h *Hybrid) setting(key string, mode route.Mode, force route.Side) route.Setting {
	set := route.Setting{Mode: h.Policy.Mode, Force: force, LocalOnly: h.LocalOnly, HasServer: len(h.Servers) > 0}
	if m := h.Policy.KeyModes[key]; m != "" {
		set.Mode = m
	}
	if mode != "" {
		set.Mode = mode
	}
	return set
}

// encode is the prompt: the plan's worked examples before the conversation,
// behind its system turn. Of the examples as many are shown as there is room
// for. They are for the device alone: what goes to a server is msgs. The device
// is not shown the choices of a single question, as in training: it weighs them.
func (w *work) encode() error {
	var shots []task.Shot
	var labels []string
	if w.custom != nil {
		shots, labels = w.custom.Shots, w.custom.Labels()
	}
	msgs := append([]chat.Message(nil), w.q.Messages...)
	last := &msgs[len(msgs)-1]
	last.Content = task.Text(last.Content, w.q.Context, labels)
	var err error
	w.prompt, err = strategy.Turns(&w.d.Form, msgs, shots)
	return err
}

func (w *work) close() { w.custom.Close() }

// thresholds are those in force. A customisation's own calibration takes the
// place of the confidence's, but keeps the scope's: its rows are all of the
// user's kind, and say nothing of queries unlike them. The default one stands
// beside the thresholds: its rows are choices, and the other families' in them are
// ones the device can answer too. What is set by name holds beside either.
func (h *Hybrid) thresholds(c *customize.Customisation, calibrated string) route.Thresholds {
	t := route.Off()
	switch {
	case c == nil:
	case calibrated == route.CalibratedOwn:
		t.ScopeUser = c.Scope.User
	default:
		t.ScopeUser, t.ScopePool, t.Confidence = c.Scope.User, c.Scope.Pool, route.DefaultConfidence
	}
	set := func(dst *float32, v float32) {
		if !math.IsNaN(float64(v)) {
			*dst = v
		}
	}
	set(&t.ScopeUser, h.Policy.ScopeUser)
	set(&t.ScopePool, h.Policy.ScopePool)
	set(&t.Confidence, h.Policy.Confidence)
	return t
}

// begin readies the device's answer without computing any of it.
func (w *work) begin() error {
	if w.draft != nil || w.label != nil {
		return nil
	}
	var err error
	w.draft, err = w.d.Start(device.Request{Prompt: w.prompt, Row: w.row, MaxTokens: w.q.MaxTokens, Stop: w.q.Stop, Top: w.q.Top, Sampling: w.q.Sampling})
	return err
}

// labels are what the answer is one of: the query's choices, else the
// customisation's labels; nil: free text.
func (w *work) labels() []string {
	if w.q.Choices != nil || w.q.Custom == nil {
		return w.q.Choices
	}
	return w.q.Custom.Labels
}

// makeDraft drafts the first tokens on the device and measures confidence. A
// label task's draft is its whole answer.
func (w *work) makeDraft(ctx context.Context) error {
	if labels := w.labels(); len(labels) > 0 {
		return w.choose(ctx, labels)
	}
	if err := w.begin(); err != nil {
		return err
	}
	var probs []float32
	ended := false
	for len(w.pieces) < route.DraftTokens {
		p, more, err := w.draft.Next(ctx)
		if err != nil {
			return err
		}
		if !more {
			ended = true
			break
		}
		w.pieces = append(w.pieces, p)
		probs = append(probs, prob(p.LogProb))
	}
	w.drafted(probs, ended)
	return w.sample(ctx)
}

func (w *work) choose(ctx context.Context, labels []string) error {
	if w.label != nil {
		return nil
	}
	if w.custom != nil && w.custom.Chooses() {
		return w.weigh(ctx, labels)
	}
	c, err := w.d.Choose(ctx, device.Question{Prompt: w.prompt, Choices: labels, Row: w.row})
	if err != nil {
		return err
	}
	w.label = &c
	probs := make([]float32, len(c.LogProbs))
	for i, lp := range c.LogProbs {
		probs[i] = prob(lp)
	}
	w.chosen(ranked(&c), nil, strategy.Table{})
	w.drafted(probs, true)
	return nil
}

// weigh chooses a label by the plan's own probabilities: the chosen one's is the
// confidence, said of the answer's first token.
func (w *work) weigh(ctx context.Context, labels []string) error {
	probs, others, table, err := w.custom.Weigh(ctx)
	if err != nil {
		return err
	}
	c := device.Choice{Scores: make([]float64, len(probs))}
	for i, p := range probs {
		c.Scores[i] = math.Log(max(p, 1e-300))
	}
	c.Index = device.Best(c.Scores)
	c.LogProbs = make([]float32, len(w.d.Form.Answer(labels[c.Index])))
	c.LogProbs[0] = float32(c.Scores[c.Index])
	w.label = &c
	w.chosen(c.Scores, others, table)
	w.drafted([]float32{float32(probs[c.Index])}, true)
	return nil
}

func prob(logProb float32) float32 { return float32(math.Exp(float64(logProb))) }

func (w *work) say(a *Answer, text string) error {
	if text == "" {
		return nil
	}
	if a.FirstByte == 0 {
		a.FirstByte = time.Since(w.start)
	}
	w.spoke = true
	a.Text += text
	return w.sink.Text(text)
}

// sayPiece tells a token of the device.
func (w *work) sayPiece(a *Answer, p device.Piece) error {
	sink, ok := w.sink.(TokenSink)
	if !ok {
		return w.say(a, p.Text)
	}
	if a.FirstByte == 0 {
		a.FirstByte = time.Since(w.start)
	}
	w.spoke = true
	a.Text += p.Text
	return sink.Token(p)
}

// sayLabel tells the label that was chosen.
func (w *work) sayLabel(a *Answer, label string) error {
	for i, id := range w.d.Form.Answer(label) {
		p := device.Piece{Token: id, LogProb: w.label.LogProbs[i]}
		if i == 0 {
			p.Text = label
		}
		if err := w.sayPiece(a, p); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) fromDevice(ctx context.Context, d route.Decision) (Answer, error) {
	a := Answer{Decision: d, PromptTokens: len(w.prompt)}
	if labels := w.labels(); len(labels) > 0 {
		if err := w.choose(ctx, labels); err != nil {
			return a, err
		}
		a.Decision.Signals = w.signals
		a.Label, a.Finish, a.CompletionTokens, a.CachedTokens = w.label, "stop", len(w.label.LogProbs), w.label.Cached
		if err := w.sink.Decided(a.Decision); err != nil {
			return a, err
		}
		return a, w.sayLabel(&a, labels[w.label.Index])
	}
	if err := w.begin(); err != nil {
		return a, err
	}
	a.Decision.Signals = w.signals
	if err := w.sink.Decided(a.Decision); err != nil {
		return a, err
	}
	for _, p := range w.pieces {
		if err := w.sayPiece(&a, p); err != nil {
			return a, err
		}
	}
	for {
		p, more, err := w.draft.Next(ctx)
		if err != nil {
			return a, err
		}
		if !more {
			break
		}
		if err := w.sayPiece(&a, p); err != nil {
			return a, err
		}
	}
	r := w.draft.Result()
	a.Finish, a.CompletionTokens, a.CachedTokens = r.Finish, r.Tokens, r.CachedTokens
	return a, nil
}

func (w *work) fromServer(ctx context.Context, d route.Decision) (Answer, error) {
	a := Answer{Decision: d}
	req := w.request(string(d.Reason))
	st, err := w.stream(ctx, req)
	if err != nil {
		return a, err
	}
	defer st.Close()
	if err := w.sink.Decided(d); err != nil {
		w.spoke = true
		return a, err
	}
	w.spoke = true // the decision is out: no falling back from here
	for st.Next() {
		if err := w.say(&a, st.Delta()); err != nil {
			return a, err
		}
	}
	r := st.Reply()
	a.Finish, a.Model = r.FinishReason, r.Model
	a.PromptTokens, a.CompletionTokens = int(r.Usage.Prompt), int(r.Usage.Completion)
	return a, st.Err()
}

// request is the query as a server is asked it, with the reason for the ledger.
func (w *work) request(why string) upstream.Request {
	req := upstream.Request{MaxTokens: w.q.MaxTokens, Stop: w.q.Stop, Why: why, Key: w.q.Key, Conversation: w.q.Conversation, Private: w.q.Private || w.q.Custom != nil && w.h.private(w.q.Custom.Name)}
	for _, m := range w.msgs {
		req.Messages = append(req.Messages, upstream.Message{Role: m.Role, Content: m.Content})
	}
	t := w.q.Temperature
	req.Temperature = &t
	if w.q.TopP > 0 {
		p := w.q.TopP
		req.TopP = &p
	}
	if w.q.SendSeed {
		seed := int64(w.q.Seed)
		req.Seed = &seed
	}
	return req
}
