package hybrid_test

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/chat"
	"crayon/internal/hybrid"
	"crayon/internal/route"
	"crayon/internal/route/calibrate"
	"crayon/internal/route/record"
	"crayon/internal/route/signal"
	"crayon/internal/upstream/fake"
)

// always and never as a calibration has them: gains lie between.
const (
	sendsAll  = -2
	sendsNone = 2
)

// recording is a world that keeps records, with a calibration of a customisation
// whose every query leaves, or none.
func recording(t *testing.T, policy hybrid.Policy, steps ...fake.Step) *world {
	t.Helper()
	w := newWorld(t, policy, steps...)
	w.Records, w.Base = record.Open(filepath.Join(t.TempDir(), "routing")), "base"
	t.Cleanup(w.Close)
	return w
}

func (w *world) calibrate(t *testing.T, threshold float64, change func(*calibrate.Calibration)) {
	t.Helper()
	digest, err := w.plain.Digest()
	require.NoError(t, err)
	m := &calibrate.Model{Curve: calibrate.Curve{A: 1}, Logistic: &calibrate.Logistic{Terms: []calibrate.Term{{Signal: "scope", Deviation: 1, Weight: 1}, {Signal: "mean_token", Deviation: 1, Weight: 1}}}}
	c := &calibrate.Calibration{Version: calibrate.Version, Device: m, Assumed: 0.5, Digests: calibrate.Digests{Base: "base", Adapter: digest}, Rule: calibrate.Rule{Promise: calibrate.Share, Threshold: threshold}}
	if change != nil {
		change(c)
	}
	require.NoError(t, w.Records.PutCalibration("mine", c))
	later := time.Now().Add(time.Duration(math.Abs(threshold)*1e9) + time.Second) // another time than the one before
	require.NoError(t, os.Chtimes(w.Records.CalibrationPath("mine"), later, later))
}

func (w *world) entries(t *testing.T) (all []record.Entry) {
	t.Helper()
	_, err := w.Records.Entries(func(e *record.Entry) error { all = append(all, *e); return nil })
	require.NoError(t, err)
	return all
}

// A calibration decides from the moment it is stored; explain says the same; and
// it gives way when it is taken away.
func TestCalibrationDecides(t *testing.T) {
	w := recording(t, auto(never, never))
	w.Policy = hybrid.Policy{Mode: route.Auto, ScopeUser: unset, ScopePool: unset, Confidence: unset}
	q := ask(w.plain, "why does the wheel wobble")
	for _, c := range []struct {
		threshold float64
		route     route.Side
	}{{sendsAll, route.Server}, {sendsNone, route.Device}} {
		w.calibrate(t, c.threshold, nil)
		d, err := w.Explain(t.Context(), q)
		require.NoError(t, err)
		require.Equal(t, c.route, d.Route)
		require.Equal(t, route.CalibratedOwn, d.Calibrated)
		a, err := w.Answer(t.Context(), q, &heard{})
		require.NoError(t, err)
		require.Equal(t, c.route, a.Decision.Route)
		require.Equal(t, d.Estimate.Gain, a.Decision.Estimate.Gain, "the draft is the same")
	}
	require.NoError(t, w.Records.RemoveCalibration("mine"))
	d, err := w.Explain(t.Context(), q)
	require.NoError(t, err)
	require.Nil(t, d.Estimate)
	all := w.entries(t)
	require.Len(t, all, 2)
	require.NotEmpty(t, all[0].Calibration)
	require.NotEqual(t, all[0].Calibration, all[1].Calibration)
	require.True(t, all[0].Send)
	require.False(t, all[1].Send)
	require.Greater(t, all[1].Signals.Get("mean_token"), 0.0)
}

// What is unlike the examples leaves under a calibration of the user's own rows
// too: those rows say nothing of it.
func TestCalibratedScopeStays(t *testing.T) {
	w := recording(t, hybrid.Policy{Mode: route.Auto, ScopeUser: unset, ScopePool: unset, Confidence: unset})
	w.plain.Scope.User = always
	w.calibrate(t, sendsNone, nil)
	d, final, err := w.ExplainEarly(t.Context(), ask(w.plain, "why does the wheel wobble"))
	require.NoError(t, err)
	require.Equal(t, []any{true, route.Server, route.OutOfScope, route.CalibratedOwn}, []any{final, d.Route, d.Reason, d.Calibrated})
}

// TestStaleCalibrationIsNotUsed: when model, customisation or data changed, it
// is told and not used.
func TestStaleCalibrationIsNotUsed(t *testing.T) {
	data := filepath.Join(t.TempDir(), "rows.csv")
	require.NoError(t, os.WriteFile(data, []byte("question,answer\na,b\n"), 0o600))
	for name, change := range map[string]func(*calibrate.Calibration){
		"the model":         func(c *calibrate.Calibration) { c.Digests.Base = "another" },
		"the customisation": func(c *calibrate.Calibration) { c.Digests.Adapter = "another" },
		"the data":          func(c *calibrate.Calibration) { c.Digests.Data, c.Digests.Path = "another", data },
	} {
		t.Run(name, func(t *testing.T) {
			w := recording(t, auto(never, never))
			var told bytes.Buffer
			w.Log = slog.New(slog.NewTextHandler(&told, nil))
			w.calibrate(t, sendsAll, change)
			a, err := w.Answer(t.Context(), ask(w.plain, "why does the wheel wobble"), &heard{})
			require.NoError(t, err)
			require.Equal(t, route.Device, a.Decision.Route)
			require.Equal(t, []string{name}, a.Decision.Stale)
			require.Nil(t, a.Decision.Estimate)
			require.Contains(t, a.Decision.Explain(), "stale: "+name)
			require.Contains(t, told.String(), "stale")
			require.Empty(t, w.fake.Calls())
		})
	}
	// Examples added, or weights set by hand, are another customisation; a proof is
	// not.
	w := recording(t, auto(never, never))
	before, err := w.plain.Digest()
	require.NoError(t, err)
	c := *w.plain
	c.Proof, c.Name = nil, "other"
	same, err := c.Digest()
	require.NoError(t, err)
	require.Equal(t, before, same)
	c.Shared++
	other, err := c.Digest()
	require.NoError(t, err)
	require.NotEqual(t, before, other)
}

// A damaged calibration is an error, not silence.
func TestDamagedCalibration(t *testing.T) {
	w := recording(t, auto(never, never))
	require.NoError(t, os.MkdirAll(w.Records.Dir(), 0o700))
	require.NoError(t, os.WriteFile(w.Records.CalibrationPath("mine"), []byte("{"), 0o600))
	_, err := w.Answer(t.Context(), ask(w.plain, "why"), &heard{})
	require.ErrorContains(t, err, "mine.calibration.json")
}

func turns(texts ...string) []chat.Message {
	var out []chat.Message
	for i, t := range texts {
		out = append(out, chat.Message{Role: []string{"user", "assistant"}[i%2], Content: t})
	}
	return out
}

// Earlier turns count: their scope, how many they are, and who answered them,
// for a client that sends the conversation each time.
func TestConversationCounts(t *testing.T) {
	w := recording(t, auto(never, unset), fake.Answer("from afar"))
	q := ask(w.plain, "my brake squeals")
	q.Force = route.Server
	first, err := w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	q.Force = ""
	q.Messages = turns("my brake squeals", first.Text, "and why?")
	d, _, err := w.ExplainEarly(t.Context(), q)
	require.NoError(t, err)
	v := d.Signals.Values
	require.Equal(t, 1.0, v.Get("past_server"))
	require.InDelta(t, math.Log(3), v.Get("turns"), 1e-12)
	require.Greater(t, v.Get("past_scope"), v.Get("scope_last"))
	require.Greater(t, v.Get("scope"), v.Get("scope_last"))
	require.InDelta(t, v.Get("scope"), d.Signals.ScopeUser, 1e-6)
	require.Equal(t, []int{2, 1}, []int{d.Signals.Turns, d.Signals.Earlier})

	// Another conversation knows nothing of it.
	q.Messages = turns("my brake squeals", "something else", "and why?")
	d, _, err = w.ExplainEarly(t.Context(), q)
	require.NoError(t, err)
	require.True(t, math.IsNaN(d.Signals.Values.Get("past_server")))
}

// The log has no word of a query unless it is asked to.
func TestLogTellsNoWord(t *testing.T) {
	const secret = "does anybody know about the xylophone"
	for mode, has := range map[string]bool{"": false, hybrid.LogDigests: false, hybrid.LogText: true} {
		w := recording(t, auto(never, never))
		w.Policy.Log = mode
		_, err := w.Answer(t.Context(), ask(w.plain, secret), &heard{})
		require.NoError(t, err)
		data, err := os.ReadFile(w.Records.LogPath())
		require.NoError(t, err)
		require.Equal(t, has, strings.Contains(string(data), "xylophone"), mode)
		all := w.entries(t)
		require.Equal(t, []string{"device", "in-scope", "ok", "mine"}, []string{all[0].Route, all[0].Reason, all[0].Outcome, all[0].Name})
		require.NotZero(t, all[0].Tokens)
	}
	w := recording(t, auto(never, never))
	w.Policy.Log = hybrid.LogOff
	_, err := w.Answer(t.Context(), ask(w.plain, secret), &heard{})
	require.NoError(t, err)
	require.NoFileExists(t, w.Records.LogPath())

	// A log that can't be written costs no answer, and is told.
	w = recording(t, auto(never, never))
	var told bytes.Buffer
	w.Log = slog.New(slog.NewTextHandler(&told, nil))
	require.NoError(t, os.WriteFile(w.Records.Dir(), nil, 0o600))
	_, err = w.Answer(t.Context(), ask(nil, secret), &heard{})
	require.NoError(t, err)
	require.Contains(t, told.String(), "routing")
}

// Shadow: the device answers, the server is asked a sample, and how far they
// agree is logged.
func TestShadow(t *testing.T) {
	w := recording(t, hybrid.Policy{Mode: route.Shadow, ScopeUser: unset, ScopePool: unset, Confidence: unset, Shadow: 1}, fake.Answer("it is the Gears."), fake.Fail(500, 0, "no"))
	for range 2 {
		sink := &heard{}
		a, err := w.Answer(t.Context(), ask(w.labels, "the rear one slips"), sink)
		require.NoError(t, err)
		require.Equal(t, []any{route.Device, route.Shadowed}, []any{a.Decision.Route, a.Decision.Reason})
	}
	w.Close()
	calls := w.fake.Calls()
	require.Len(t, calls, 2)
	all := w.entries(t)
	require.Len(t, all, 4)
	outcomes := map[string]int{}
	for _, e := range all {
		if e.Kind == record.Shadow {
			outcomes[e.Outcome]++
			if e.Outcome == "ok" {
				require.NotNil(t, e.Agreement)
				require.Contains(t, []float64{0, 1}, *e.Agreement, "a label is the same or another")
			}
		}
	}
	require.Equal(t, map[string]int{"ok": 1, "server-error": 1}, outcomes)
	var m bytes.Buffer
	require.NoError(t, w.WriteMetrics(&m))
	require.Contains(t, m.String(), `crayon_route_shadows_total{outcome="ok"} 1`)
	require.Contains(t, m.String(), `crayon_route_decisions_total{customisation="mine",route="device",reason="shadow"} 2`)

	// Closed, or outside the sample, or local-only: nobody is asked.
	_, err := w.Answer(t.Context(), ask(w.labels, "the rear one slips"), &heard{})
	require.NoError(t, err)
	w2 := recording(t, hybrid.Policy{Mode: route.Shadow, ScopeUser: unset, ScopePool: unset, Confidence: unset}, fake.Answer("x"))
	_, err = w2.Answer(t.Context(), ask(w2.labels, "the rear one slips"), &heard{})
	require.NoError(t, err)
	w2.LocalOnly, w2.Policy.Shadow = true, 1
	_, err = w2.Answer(t.Context(), ask(w2.labels, "the rear one slips"), &heard{})
	require.NoError(t, err)
	w2.Close()
	require.Len(t, w.fake.Calls(), 2)
	require.Empty(t, w2.fake.Calls())
}

// What the server says becomes a candidate only with consent, of the customisation
// asked, as one of its labels, and never when it was cut or is of a conversation.
func TestHarvest(t *testing.T) {
	for _, c := range []struct {
		name, harvest string
		labels        bool
		step          fake.Step
		before        []string
		want          []record.Candidate
	}{
		{name: "no consent", harvest: hybrid.HarvestOff, step: fake.Answer("true it")},
		{name: "consent", harvest: hybrid.HarvestAsk, step: fake.Answer("true it"), want: []record.Candidate{{Question: "the wheel wobbles", Answer: "true it"}}},
		{name: "a label", harvest: hybrid.HarvestAsk, labels: true, step: fake.Answer("That is: Wheels."), want: []record.Candidate{{Question: "the wheel wobbles", Answer: "wheels"}}},
		{name: "no label", harvest: hybrid.HarvestAsk, labels: true, step: fake.Answer("brakes or wheels")},
		{name: "conversation", harvest: hybrid.HarvestAsk, step: fake.Answer("true it"), before: []string{"hello", "hi"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := recording(t, auto(always, unset), c.step)
			w.Policy.Harvest = c.harvest
			q := ask(w.plain, "the wheel wobbles")
			if c.labels {
				q = ask(w.labels, "the wheel wobbles")
			}
			q.Messages = append(turns(c.before...), q.Messages...)
			_, err := w.Answer(t.Context(), q, &heard{})
			require.NoError(t, err)
			got, err := w.Records.Candidates("mine")
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// A mode named by the query goes before the policy's.
func TestModeOfAQuery(t *testing.T) {
	w := newWorld(t, auto(always, unset), fake.Answer("from afar"))
	q := ask(w.plain, "why")
	q.Mode = route.DeviceOnly
	a, err := w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	require.Equal(t, []any{route.Device, route.Forced}, []any{a.Decision.Route, a.Decision.Reason})
	w.Policy.KeyModes = map[string]route.Mode{"serve": route.ServerOnly}
	q.Key, q.Mode = "serve", ""
	a, err = w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	require.Equal(t, []any{route.Server, route.Forced}, []any{a.Decision.Route, a.Decision.Reason}, "the key's mode goes before the policy's")
	q.Mode = route.PreferServer
	a, err = w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	require.Equal(t, route.Server, a.Decision.Route)
}

// Further drafts are made only where they are asked for, and their agreement is
// a signal.
func TestSamplesAreOffByDefault(t *testing.T) {
	w := newWorld(t, auto(never, never))
	q := ask(w.plain, "why does the wheel wobble")
	d, err := w.Explain(t.Context(), q)
	require.NoError(t, err)
	require.True(t, math.IsNaN(d.Signals.Values.Get("samples_agree")))
	one := w.Device.Model.Computed()
	w.Policy.Samples = 2
	d, err = w.Explain(t.Context(), q)
	require.NoError(t, err)
	x := d.Signals.Values.Get("samples_agree")
	require.True(t, x >= 0 && x <= 1)
	require.Greater(t, w.Device.Model.Computed()-one, int64(3*20), "three drafts")
	again, err := w.Explain(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, x, again.Signals.Values.Get("samples_agree"), "drawn with fixed seeds")
}

// Live queries that leave the band are warned of once, in the log and the
// metrics, and after a restart the watch goes on where it was.
func TestDriftIsToldOnce(t *testing.T) {
	w := recording(t, auto(never, never), fake.Answer("gears"))
	var told bytes.Buffer
	w.Log = slog.New(slog.NewTextHandler(&told, nil))
	q := ask(w.labels, "the rear one slips") // named mine too
	digest, err := w.labels.Digest()
	require.NoError(t, err)
	w.calibrate(t, sendsAll, func(c *calibrate.Calibration) {
		c.Digests.Adapter, c.Bands = digest, []calibrate.Band{{Name: calibrate.Sent, Low: 0.05, High: 0.1}}
	})
	for range 3 {
		_, err := w.Answer(t.Context(), q, &heard{})
		require.NoError(t, err)
	}
	// A restart within.
	second := &hybrid.Hybrid{Device: w.Device, Servers: w.Servers, Policy: w.Policy, Records: w.Records, Base: w.Base, Log: w.Log}
	for range 9 {
		_, err := second.Answer(t.Context(), q, &heard{})
		require.NoError(t, err)
	}
	require.Equal(t, 1, strings.Count(told.String(), "drifts from its calibration"))
	var m bytes.Buffer
	require.NoError(t, second.WriteMetrics(&m))
	require.Contains(t, m.String(), `crayon_route_drift{customisation="mine",of="sent"} 1`)
	require.Contains(t, m.String(), `crayon_route_share{customisation="mine",of="sent"} 1`)
}

func TestLabelSignals(t *testing.T) {
	w := newWorld(t, auto(never, never))
	d, err := w.Explain(t.Context(), ask(w.labels, "it squeaks"))
	require.NoError(t, err)
	v := d.Signals.Values
	for _, name := range []string{"choice_top", "choice_margin", "choice_entropy", "neighbour_vote", "choices", "mean_token", "blend_overlap", "scope_own"} {
		require.False(t, math.IsNaN(v.Get(name)), name)
	}
	require.True(t, math.IsNaN(v.Get("base_agrees")), "the bare model was not asked")
	// Under a stack the bare model's scores are known anyway.
	d, err = w.Explain(t.Context(), ask(improved(t, w, w.labels, "stack"), "it squeaks"))
	require.NoError(t, err)
	require.False(t, math.IsNaN(d.Signals.Values.Get("strategies_agree")))
	require.False(t, math.IsNaN(d.Signals.Values.Get("by_vote")))
	require.True(t, math.IsNaN(v.Get("by_vote")), "without a stack")
	require.Len(t, d.Signals.Values, signal.Count())
}

func TestAgreementAndPick(t *testing.T) {
	require.Equal(t, 1.0, hybrid.Agreement("The Gears!", "the gears"))
	require.Equal(t, 0.0, hybrid.Agreement("gears", "brakes"))
	require.Equal(t, 1.0, hybrid.Agreement("", " "))
	require.InDelta(t, 0.5, hybrid.Agreement("a b", "b c"), 1e-12)
	labels := []string{"wheel", "wheel bearing", "brakes"}
	for answer, want := range map[string]int{"wheel": 0, "The wheel bearing.": 1, "it is the brakes": 2, "brakes or wheel": -1, "gears": -1, "wheels": -1, "": -1} {
		require.Equal(t, want, hybrid.Pick(answer, labels), answer)
	}
	require.True(t, hybrid.Matches("Paris.", "paris", nil))
	require.False(t, hybrid.Matches("in Paris", "paris", nil))
	require.True(t, hybrid.Matches("Answer: brakes", "brakes", labels))
}

func TestAskServerRefuses(t *testing.T) {
	w := newWorld(t, auto(never, never), fake.Answer("from afar"))
	text, err := w.AskServer(t.Context(), ask(w.plain, "why"), "calibrate")
	require.NoError(t, err)
	require.Equal(t, "from afar", text)
	w.LocalOnly = true
	_, err = w.AskServer(t.Context(), ask(w.plain, "why"), "calibrate")
	require.ErrorContains(t, err, "local-only")
	_, err = (&hybrid.Hybrid{Device: w.Device}).AskServer(t.Context(), ask(w.plain, "why"), "calibrate")
	require.ErrorContains(t, err, "none is set")
}

// Measuring answers on the device whatever the policy says, and keeps nothing.
func TestMeasure(t *testing.T) {
	w := recording(t, hybrid.Policy{Mode: route.ServerOnly, ScopeUser: unset, ScopePool: unset, Confidence: unset})
	q := ask(w.plain, "why does the wheel wobble")
	own, _ := w.alone(t, q)
	text, d, err := w.Measure(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, own.Text, text)
	require.Greater(t, d.Signals.Values.Get("mean_token"), 0.0)
	require.Empty(t, w.fake.Calls())
	require.NoFileExists(t, w.Records.LogPath())
}
