package hybrid_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/customize"
	"crayon/internal/fault"
	"crayon/internal/hybrid"
	"crayon/internal/route"
	"crayon/internal/strategy"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/upstream/fake"
)

func improved(t *testing.T, w *world, c *customize.Customisation, name string) *customize.Customisation {
	t.Helper()
	better, err := customize.Improve(t.Context(), w.Device, c, customize.Options{Strategy: name, Time: time.Second}, nil)
	require.NoError(t, err)
	return better
}

// A label task under a stack answers with the label that the plan holds most
// probable, and that probability is the confidence.
func TestStackAnswersWithALabel(t *testing.T) {
	w := newWorld(t, auto(never, unset))
	for _, name := range []string{"stack", "mix"} {
		c := improved(t, w, w.labels, name)
		for _, text := range []string{"it squeaks", "the wheel wobbles", "it will not shift"} {
			h := &heard{}
			a, err := w.Answer(t.Context(), ask(c, text), h)
			require.NoError(t, err)
			dir, err := w.Device.Direction(t.Context(), text)
			require.NoError(t, err)
			q, err := c.Query(t.Context(), w.Device, text, "", nil, dir)
			require.NoError(t, err)
			probs, err := q.Choose(t.Context())
			require.NoError(t, err)
			q.Close()
			best := slices.Index(probs, slices.Max(probs))
			require.Equal(t, c.Labels[best], a.Text)
			require.Equal(t, a.Text, h.text.String())
			require.Equal(t, best, a.Label.Index)
			require.InDelta(t, probs[best], a.Decision.Signals.Confidence, 1e-6)
			require.Len(t, w.Device.Form.Answer(a.Text), a.CompletionTokens)
		}
	}
}

// Worked examples are in the device's prompt, as many as fit, and never in what
// a server is asked.
func TestWorkedExamplesStayHere(t *testing.T) {
	w := newWorld(t, auto(never, never), fake.Answer("hello"))
	c := improved(t, w, w.plain, "shots5")
	bare, err := w.Answer(t.Context(), ask(w.plain, "my brake squeals"), &heard{})
	require.NoError(t, err)
	q := ask(c, "my brake squeals")
	q.Force = route.Device
	shown, err := w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	require.Greater(t, shown.PromptTokens, bare.PromptTokens+20)
	for i := range c.Examples {
		c.Examples[i].Context = strings.Repeat("so it goes ", 60)
	}
	fresh := improved(t, w, c, "shots5")
	q.Custom = fresh
	a, err := w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	require.LessOrEqual(t, a.PromptTokens, strategy.MaxShots)

	q.Custom, q.Force = c, route.Server
	_, err = w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	sent := w.fake.Calls()
	require.NotEmpty(t, sent)
	require.NotContains(t, sent[len(sent)-1].Raw, "the bell is quiet")
	require.Contains(t, sent[len(sent)-1].Raw, "my brake squeals")
}

// A query's own choices are what the answer is one of, under the bare model, a
// blend and a stack. The device weighs them and is not shown them; a server is.
func TestAnswerIsOneOfTheChoices(t *testing.T) {
	w := newWorld(t, auto(never, never), fake.Answer("the chain"))
	choices := []string{"the bell", "the chain", "neither of them"}
	for name, c := range map[string]*customize.Customisation{"bare": nil, "blend": w.plain, "labels": w.labels, "stack": improved(t, w, w.labels, "stack")} {
		q := ask(c, "what is loose")
		q.Choices, q.Force = choices, route.Device
		h := &heard{}
		a, err := w.Answer(t.Context(), q, h)
		require.NoError(t, err, name)
		require.Equal(t, choices[a.Label.Index], a.Text, name)
		require.Equal(t, a.Text, h.text.String(), name)
		want, err := w.Device.Form.Prompt("what is loose")
		require.NoError(t, err)
		require.Equal(t, len(want), a.PromptTokens, name)
		if c != nil {
			require.Positive(t, a.Decision.Signals.Values.Get("choices"), name)
		}
	}
	require.Empty(t, w.fake.Calls())
	q := ask(w.plain, "what is loose")
	q.Choices, q.Force = choices, route.Server
	_, err := w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	require.Contains(t, w.fake.Calls()[0].Raw, "neither of them")

	for _, bad := range [][]string{{}, {"one"}, {"one", "one"}, {"one", ""}, {"one", strings.Repeat("x", 5000)}, make([]string, 2000)} {
		q.Choices = bad
		_, err := w.Answer(t.Context(), q, &heard{})
		require.Equal(t, fault.ExitUsage, fault.Code(err))
	}
}

// A private adapter answers beside the blend, and a gate takes both away
// outside the examples' scope.
func TestPrivateAdapterAndGate(t *testing.T) {
	w := newWorld(t, auto(never, unset))
	rng := rand.New(rand.NewPCG(2, 2))
	slot := arch.SlotOf(1, arch.Down)
	out, in := tiny.Config.Shape(slot.Kind())
	p := &adapter.Pair{Rank: 2, In: in, Out: out, A: make([]float32, 2*in), B: make([]float32, out*2)}
	for i := range p.A {
		p.A[i] = float32(rng.NormFloat64())
	}
	for i := range p.B {
		p.B[i] = float32(rng.NormFloat64())
	}
	blend := w.plain.Plan.Members
	with := func(plan *strategy.Plan) *customize.Customisation {
		c := *w.plain
		c.Plan = plan
		return &c
	}
	text := func(q hybrid.Query) string {
		a, err := w.Answer(t.Context(), q, &heard{})
		require.NoError(t, err)
		return a.Text
	}
	const question = "the lamp is dim"
	base, plain := text(ask(nil, question)), text(ask(w.plain, question))
	private := &adapter.Adapter{Name: "private", Scale: 4, Pairs: map[arch.Slot]*adapter.Pair{slot: p}}
	own := text(ask(with(&strategy.Plan{Members: blend, Private: private}), question))
	require.NotEqual(t, plain, own)
	require.NotEqual(t, base, plain)
	far := &strategy.Gate{Low: 2, High: 3}
	require.Equal(t, base, text(ask(with(&strategy.Plan{Members: blend, Private: private, Gate: far}), question)))
	near := &strategy.Gate{Low: float32(-2), High: -1.5}
	require.Equal(t, own, text(ask(with(&strategy.Plan{Members: blend, Private: private, Gate: near}), question)))
}
