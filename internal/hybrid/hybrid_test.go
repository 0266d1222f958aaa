package hybrid_test

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/chat"
	"crayon/internal/customize"
	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/hybrid"
	"crayon/internal/model"
	"crayon/internal/route"
	"crayon/internal/testmodel/tinydevice"
	"crayon/internal/upstream"
	"crayon/internal/upstream/fake"
)

const (
	never  = float32(-1)
	always = float32(2) // no cosine and no probability reaches it
)

var unset = float32(math.NaN())

// world is a tiny device, a customisation with labels and one without, and a
// fake server.
type world struct {
	*hybrid.Hybrid
	plain, labels *customize.Customisation
	fake          *fake.Server
	ledger        *upstream.Ledger
}

func newWorld(t *testing.T, policy hybrid.Policy, steps ...fake.Step) *world {
	t.Helper()
	d := tinydevice.Open(t)
	w := &world{fake: fake.New(steps...)}
	t.Cleanup(w.fake.Close)
	var err error
	w.ledger, err = upstream.OpenLedger(filepath.Join(t.TempDir(), "ledger.jsonl"))
	require.NoError(t, err)
	gate := upstream.New(upstream.Options{Ledger: w.ledger})
	t.Cleanup(gate.Close)
	server, err := upstream.NewServer(gate, upstream.ServerOptions{URL: w.fake.URL, Retries: -1, Timeout: 5 * time.Second, Idle: time.Second})
	require.NoError(t, err)
	w.Hybrid = &hybrid.Hybrid{Device: d, Servers: []*upstream.Server{server}, Policy: policy}
	w.plain, w.labels = custom(t, d, nil), custom(t, d, []string{"brakes", "gears", "wheels"})
	return w
}

func custom(t *testing.T, d *device.Device, labels []string) *customize.Customisation {
	t.Helper()
	set := &examples.Set{Labels: labels, Source: "test"}
	for _, q := range []string{"my brake squeals", "the chain skips", "a spoke broke", "the bell is quiet", "the lamp is dim"} {
		e := examples.Example{Question: q, Answer: "bring it in", Labelled: true}
		if labels != nil {
			e.Answer = labels[len(set.Examples)%len(labels)]
		}
		set.Examples = append(set.Examples, e)
	}
	c, err := customize.Make(t.Context(), d, "mine", set, customize.Options{})
	require.NoError(t, err)
	return c
}

// heard is a sink that keeps what it heard.
type heard struct {
	decisions []route.Decision
	early     bool // text came before the decision
	text      strings.Builder
	fail      error // to be returned at the first text
}

func (h *heard) Decided(d route.Decision) error {
	h.decisions = append(h.decisions, d)
	return nil
}

func (h *heard) Text(s string) error {
	h.early = h.early || len(h.decisions) == 0
	h.text.WriteString(s)
	return h.fail
}

func ask(c *customize.Customisation, text string) hybrid.Query {
	return hybrid.Query{Messages: []chat.Message{{Role: "user", Content: text}}, Custom: c, MaxTokens: 40}
}

// alone is the device's own answer and how many tokens making it computes.
func (w *world) alone(t *testing.T, q hybrid.Query) (device.Result, int64) {
	t.Helper()
	var row []float32
	if q.Custom != nil {
		var err error
		row, err = q.Custom.Bind(t.Context(), w.Device)
		require.NoError(t, err)
	}
	prompt, err := w.Device.Form.Chat(q.Messages)
	require.NoError(t, err)
	before := w.Device.Model.Computed()
	r, err := w.Device.Generate(t.Context(), device.Request{Prompt: prompt, Row: row, MaxTokens: q.MaxTokens, Stop: q.Stop, Sampling: q.Sampling})
	require.NoError(t, err)
	return r, w.Device.Model.Computed() - before
}

func auto(scope, confidence float32) hybrid.Policy {
	return hybrid.Policy{Mode: route.Auto, ScopeUser: scope, ScopePool: never, Confidence: confidence}
}

// TestWhoAnswers: every way to a decision, with how many tokens the device
// computed: a draft is never made twice, and never for nothing.
func TestWhoAnswers(t *testing.T) {
	const none, draft, whole = "none", "draft", "whole"
	for _, c := range []struct {
		name     string
		policy   hybrid.Policy
		local    bool
		noServer bool
		force    route.Side
		step     fake.Step
		route    route.Side
		reason   route.Reason
		degraded bool
		computed string
	}{
		{name: "in scope", policy: auto(never, unset), route: route.Device, reason: route.InScope, computed: whole},
		{name: "in scope and confident", policy: auto(never, never), route: route.Device, reason: route.InScope, computed: whole},
		{name: "out of scope leaves without a draft", policy: auto(always, never), route: route.Server, reason: route.OutOfScope, computed: none},
		{name: "low confidence leaves after the draft", policy: auto(never, always), route: route.Server, reason: route.LowConfidence, computed: draft},
		{name: "dead server: the draft goes on", policy: auto(never, always), step: fake.Drop(), route: route.Device, reason: route.ServerFailed, degraded: true, computed: whole},
		{name: "dead server, no draft yet", policy: auto(always, never), step: fake.Drop(), route: route.Device, reason: route.ServerFailed, degraded: true, computed: whole},
		{name: "nonsense server", policy: auto(always, unset), step: fake.HTML(), route: route.Device, reason: route.ServerFailed, degraded: true, computed: whole},
		{name: "failing server", policy: auto(always, unset), step: fake.Fail(500, 0, "no"), route: route.Device, reason: route.ServerFailed, degraded: true, computed: whole},
		{name: "local only", policy: auto(always, always), local: true, route: route.Device, reason: route.LocalOnly, degraded: true, computed: whole},
		{name: "no server", policy: auto(always, always), noServer: true, route: route.Device, reason: route.NoServer, degraded: true, computed: whole},
		{name: "forced device", policy: auto(always, always), force: route.Device, route: route.Device, reason: route.Forced, computed: whole},
		{name: "forced server", policy: auto(never, unset), force: route.Server, route: route.Server, reason: route.Forced, computed: none},
	} {
		t.Run(c.name, func(t *testing.T) {
			step := c.step
			if step == nil {
				step = fake.Answer("from the large one")
			}
			w := newWorld(t, c.policy, step)
			w.LocalOnly = c.local
			if c.noServer {
				w.Servers = nil
			}
			q := ask(w.plain, "why does the wheel wobble")
			q.Force = c.force
			own, cost := w.alone(t, q)
			require.Greater(t, own.Tokens, route.DraftTokens, "the tiny model's answer outlasts its draft")

			sink := &heard{}
			before := w.Device.Model.Computed()
			a, err := w.Answer(t.Context(), q, sink)
			require.NoError(t, err)
			computed := w.Device.Model.Computed() - before
			require.Len(t, sink.decisions, 1)
			require.False(t, sink.early)
			d := sink.decisions[0]
			require.Equal(t, []any{c.route, c.reason, c.degraded}, []any{d.Route, d.Reason, d.Degraded})
			require.Equal(t, a.Text, sink.text.String())
			if c.route == route.Server {
				require.Equal(t, "from the large one", a.Text)
				require.Equal(t, fake.Model, a.Model)
			} else {
				require.Equal(t, own.Text, a.Text)
				require.Equal(t, own.Finish, a.Finish)
				require.Equal(t, own.Tokens, a.CompletionTokens)
			}
			switch c.computed {
			case none:
				require.Zero(t, computed)
			case draft:
				require.Equal(t, cost-int64(own.Tokens-route.DraftTokens), computed)
			case whole:
				require.Equal(t, cost, computed)
			}
			if c.local || c.noServer {
				require.Empty(t, w.fake.Calls())
				entries, err := w.ledger.Entries(time.Time{})
				require.NoError(t, err)
				require.Empty(t, entries)
			}
		})
	}
}

// TestLabels: a label task's draft is its answer, weighed once.
func TestLabels(t *testing.T) {
	w := newWorld(t, auto(never, always), fake.Drop())
	q := ask(w.labels, "the rear one slips")
	_, err := w.labels.Bind(t.Context(), w.Device)
	require.NoError(t, err)
	sink := &heard{}
	before := w.Device.Model.Computed()
	a, err := w.Answer(t.Context(), q, sink)
	require.NoError(t, err)
	cost := w.Device.Model.Computed() - before
	require.Contains(t, w.labels.Labels, a.Text)
	require.Equal(t, route.ServerFailed, a.Decision.Reason)
	require.NotNil(t, a.Label)

	w.Policy.Confidence = unset
	before = w.Device.Model.Computed()
	b, err := w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	require.Equal(t, cost, w.Device.Model.Computed()-before, "the draft was weighed again")
	require.Equal(t, a.Text, b.Text)
	require.Equal(t, "stop", b.Finish)
	// The server is told the labels, as the device is.
	require.Contains(t, w.fake.Calls()[0].Raw, `Options:\n- brakes\n- gears`)
}

// tokens is a sink that hears tokens.
type tokens struct {
	heard
	pieces []device.Piece
}

func (k *tokens) Token(p device.Piece) error {
	k.pieces = append(k.pieces, p)
	return k.Text(p.Text)
}

// TestTokenSink: the tokens, drafted and not, are those of the device alone,
// and the likeliest beside each fit them.
func TestTokenSink(t *testing.T) {
	w := newWorld(t, auto(never, never))
	q := ask(w.plain, "why does the wheel wobble")
	q.Top = 3
	own, _ := w.alone(t, q)
	sink := &tokens{}
	a, err := w.Answer(t.Context(), q, sink)
	require.NoError(t, err)
	require.Equal(t, own.Text, a.Text)
	require.Equal(t, own.Text, sink.text.String())
	require.Len(t, sink.pieces, own.Tokens)
	for i, p := range sink.pieces {
		require.Equal(t, own.LogProbs[i], p.LogProb)
		require.Len(t, p.Top, 3)
		require.Equal(t, device.Likely{Token: p.Token, LogProb: p.LogProb}, p.Top[0], "greedy is the likeliest")
		require.GreaterOrEqual(t, p.Top[1].LogProb, p.Top[2].LogProb)
	}

	labelled := &tokens{}
	a, err = w.Answer(t.Context(), ask(w.labels, "the rear one slips"), labelled)
	require.NoError(t, err)
	require.Equal(t, a.Text, labelled.text.String())
	require.Len(t, labelled.pieces, len(a.Label.LogProbs))
}

// TestCut: once the server has spoken, its failure is the answer's.
func TestCut(t *testing.T) {
	for name, step := range map[string]fake.Step{
		"connection":    fake.Cut("one two three four", 2),
		"silence":       fake.Stall("one two three four", 2),
		"no reason":     fake.End("one two three four", 2),
		"error event":   fake.StreamError("one two three four", 2, "out of memory"),
		"forced to die": fake.Drop(),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, auto(always, unset), step)
			q := ask(w.plain, "why")
			if name == "forced to die" {
				q.Force = route.Server
			}
			sink := &heard{}
			_, err := w.Answer(t.Context(), q, sink)
			require.Error(t, err)
			require.NotEmpty(t, upstream.KindOf(err))
			if name != "forced to die" {
				require.Equal(t, "one two", sink.text.String())
			} else {
				require.Empty(t, sink.decisions)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, auto(never, unset))
	t.Run("no question", func(t *testing.T) {
		for _, msgs := range [][]chat.Message{nil, {{Role: "assistant", Content: "hello"}}} {
			_, err := w.Answer(t.Context(), hybrid.Query{Messages: msgs}, &heard{})
			require.ErrorIs(t, err, hybrid.ErrNoQuestion)
			require.Equal(t, fault.ExitUsage, fault.Code(err))
		}
	})
	t.Run("forced server that can't be had", func(t *testing.T) {
		for _, local := range []bool{true, false} {
			h := &hybrid.Hybrid{Device: w.Device, Policy: w.Policy, LocalOnly: local}
			q := ask(nil, "why")
			q.Force = route.Server
			sink := &heard{}
			_, err := h.Answer(t.Context(), q, sink)
			var u *route.UnreachableError
			require.ErrorAs(t, err, &u)
			require.Equal(t, fault.ExitRefused, fault.Code(err))
			require.NotEmpty(t, fault.Hint(err))
			require.Empty(t, sink.decisions)
		}
	})
	t.Run("too long", func(t *testing.T) {
		sink := &heard{}
		_, err := w.Answer(t.Context(), ask(nil, strings.Repeat("word ", 4000)), sink)
		require.ErrorIs(t, err, device.ErrContext)
		require.Empty(t, sink.decisions, "refused before anything was said")
	})
	t.Run("sink", func(t *testing.T) {
		gone := errors.New("the client left")
		sink := &heard{fail: gone}
		before := w.Device.Model.Computed()
		_, err := w.Answer(t.Context(), ask(nil, "why"), sink)
		require.ErrorIs(t, err, gone)
		require.Less(t, w.Device.Model.Computed()-before, int64(200), "it went on for nobody")
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := w.Answer(ctx, ask(w.plain, "why"), &heard{})
		require.ErrorIs(t, err, context.Canceled)
	})
}

// TestExplain says what Answer would decide, and asks nobody.
func TestExplain(t *testing.T) {
	w := newWorld(t, auto(never, always))
	d, err := w.Explain(t.Context(), ask(w.plain, "why does the wheel wobble"))
	require.NoError(t, err)
	require.Equal(t, route.Server, d.Route)
	require.Equal(t, route.LowConfidence, d.Reason)
	require.Equal(t, route.DraftTokens, d.Signals.Tokens)
	require.Empty(t, w.fake.Calls())
}

// TestSeedReachesTheServer only where it was asked for.
func TestSeedReachesTheServer(t *testing.T) {
	w := newWorld(t, auto(always, unset))
	q := ask(w.plain, "why")
	q.Sampling = model.Sampling{Temperature: 0.5, Seed: 77}
	for _, send := range []bool{false, true} {
		q.SendSeed = send
		_, err := w.Answer(t.Context(), q, &heard{})
		require.NoError(t, err)
	}
	calls := w.fake.Calls()
	require.NotContains(t, calls[0].Raw, "seed")
	require.Contains(t, calls[1].Raw, `"seed":77`)
}
