package route

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var limits = Thresholds{ScopeUser: 0.5, ScopePool: 0.3, Confidence: 0.4}

func signals(user, pool, conf float32) Signals {
	return Signals{ScopeUser: user, ScopePool: pool, Confidence: conf, LeastToken: conf / 2, Tokens: 8}
}

func TestDecide(t *testing.T) {
	nan := float32(math.NaN())
	near, far, doubt, both := signals(.9, .9, .9), signals(.1, .9, .9), signals(.9, .9, .1), signals(.1, .1, .1)
	with := Setting{HasServer: true}
	mode := func(m Mode) Setting { return Setting{HasServer: true, Mode: m} }
	for _, c := range []struct {
		name     string
		s        Signals
		t        Thresholds
		set      Setting
		route    Side
		reason   Reason
		degraded bool
	}{
		{"in scope", near, limits, with, Device, InScope, false},
		{"out of scope", far, limits, with, Server, OutOfScope, false},
		{"far from the pool", signals(.9, .1, .9), limits, with, Server, OutOfScope, false},
		{"doubt", doubt, limits, with, Server, LowConfidence, false},
		{"both: scope is named", both, limits, with, Server, OutOfScope, false},
		{"at the threshold it stays", signals(.5, .3, .4), limits, with, Device, InScope, false},
		{"triggers off", both, Off(), with, Device, InScope, false},
		{"nothing measured", Unmeasured(), limits, with, Device, NoSignal, false},
		{"no draft", signals(.9, .9, nan), limits, with, Device, InScope, false},
		{"no server, in scope", near, limits, Setting{}, Device, InScope, false},
		{"no server", far, limits, Setting{}, Device, NoServer, true},
		{"local only", far, limits, Setting{HasServer: true, LocalOnly: true}, Device, LocalOnly, true},
		{"device mode", far, limits, mode(DeviceOnly), Device, Forced, false},
		{"server mode", near, limits, mode(ServerOnly), Server, Forced, false},
		{"request beats mode", near, limits, Setting{HasServer: true, Mode: DeviceOnly, Force: Server}, Server, Forced, false},
		{"request beats mode, other way", far, limits, Setting{HasServer: true, Mode: ServerOnly, Force: Device}, Device, Forced, false},
		{"prefer device, one trigger", far, limits, mode(PreferDevice), Device, Preferred, false},
		{"prefer device, both", both, limits, mode(PreferDevice), Server, OutOfScope, false},
		{"prefer device, none", near, limits, mode(PreferDevice), Device, InScope, false},
		{"prefer server", near, limits, mode(PreferServer), Server, Preferred, false},
		{"prefer server, far", far, limits, mode(PreferServer), Server, OutOfScope, false},
		{"prefer server, none", near, limits, Setting{Mode: PreferServer}, Device, NoServer, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Decide(c.s, c.t, c.set)
			require.NoError(t, err)
			require.Equal(t, c.route, d.Route)
			require.Equal(t, c.reason, d.Reason)
			require.Equal(t, c.degraded, d.Degraded)
			require.NotEqual(t, string(d.Reason), d.Reason.Sentence())
		})
	}
	for _, set := range []Setting{{Mode: ServerOnly}, {Force: Server}, {Force: Server, HasServer: true, LocalOnly: true}} {
		_, err := Decide(near, limits, set)
		var e *UnreachableError
		require.True(t, errors.As(err, &e))
	}
	_, err := Decide(near, limits, Setting{Mode: "maybe"})
	require.Error(t, err)
	_, err = Decide(near, limits, Setting{Force: "cloud"})
	require.Error(t, err)
}

func genSignals() *rapid.Generator[Signals] {
	return rapid.Custom(func(t *rapid.T) Signals {
		x := func(lo, hi float32, name string) float32 {
			if rapid.IntRange(0, 5).Draw(t, name+" missing") == 0 {
				return float32(math.NaN())
			}
			return rapid.Float32Range(lo, hi).Draw(t, name)
		}
		return Signals{ScopeUser: x(-1, 1, "user"), ScopePool: x(-1, 1, "pool"), Confidence: x(0, 1, "conf")}
	})
}

func genSetting() *rapid.Generator[Setting] {
	return rapid.Custom(func(t *rapid.T) Setting {
		return Setting{Mode: rapid.SampledFrom(append(Modes(), "")).Draw(t, "mode"), Force: rapid.SampledFrom([]Side{"", Device, Server}).Draw(t, "force"),
			LocalOnly: rapid.Bool().Draw(t, "local"), HasServer: rapid.Bool().Draw(t, "server")}
	})
}

func genThresholds() *rapid.Generator[Thresholds] {
	return rapid.Custom(func(t *rapid.T) Thresholds {
		x := func(name string) float32 {
			return rapid.OneOf(rapid.Float32Range(-1, 1), rapid.Just(float32(math.Inf(-1)))).Draw(t, name)
		}
		return Thresholds{x("tu"), x("tp"), x("tc")}
	})
}

func TestDecideProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, th, set := genSignals().Draw(t, "s"), genThresholds().Draw(t, "t"), genSetting().Draw(t, "set")
		d, err := Decide(s, th, set)
		if err != nil {
			require.True(t, set.Force == Server || set.Force == "" && set.Mode == ServerOnly)
			require.True(t, set.LocalOnly || !set.HasServer)
			return
		}
		// Nothing leaves when nothing may.
		if set.LocalOnly || !set.HasServer {
			require.Equal(t, Device, d.Route)
		}
		require.NotEmpty(t, d.Reason)
		if d.Degraded {
			require.Equal(t, Device, d.Route)
		}
		// Lower thresholds never send more.
		lower := th
		lower.ScopeUser -= 0.1
		lower.Confidence -= 0.1
		d2, err := Decide(s, lower, set)
		require.NoError(t, err)
		if d.Route == Device {
			require.Equal(t, Device, d2.Route)
		}
		// A final decision before the draft stands, whatever the draft says.
		early, final, err := DecideBeforeDraft(s, th, set)
		require.NoError(t, err)
		if final {
			require.Equal(t, d.Route, early.Route)
		}
		// It can always be told.
		data, err := json.Marshal(d)
		require.NoError(t, err)
		var back map[string]any
		require.NoError(t, json.Unmarshal(data, &back))
		require.Len(t, back["signals"], 3)
		require.NotContains(t, d.Explain()+d.Short(), "NaN")
		for _, v := range d.Header() {
			require.NotContains(t, v[0], "NaN")
			require.NotContains(t, v[0], "Inf")
		}
	})
}

func TestDecideBeforeDraftSparesTheDraft(t *testing.T) {
	_, final, err := DecideBeforeDraft(signals(.1, .9, 0), limits, Setting{HasServer: true})
	require.NoError(t, err)
	require.True(t, final, "out of scope: no draft needed")
	_, final, _ = DecideBeforeDraft(signals(.9, .9, 0), limits, Setting{HasServer: true})
	require.False(t, final)
	_, final, _ = DecideBeforeDraft(signals(.1, .9, 0), limits, Setting{})
	require.True(t, final)
}

func TestWithDraft(t *testing.T) {
	s := Unmeasured().WithDraft([]float32{0.5, 1, 0.75})
	require.Equal(t, float32(0.75), s.Confidence)
	require.Equal(t, float32(0.5), s.LeastToken)
	require.Equal(t, 3, s.Tokens)
	require.True(t, s.ScopeUser != s.ScopeUser)
	long := make([]float32, 100)
	for i := range long[:DraftTokens] {
		long[i] = 1
	}
	s = s.WithDraft(long)
	require.Equal(t, float32(1), s.Confidence)
	require.Equal(t, DraftTokens, s.Tokens)
	s = s.WithDraft(nil)
	require.True(t, s.Confidence != s.Confidence)
	require.Zero(t, s.Tokens)
}

func TestTelling(t *testing.T) {
	d, err := Decide(signals(.25, .5, .75), limits, Setting{HasServer: true})
	require.NoError(t, err)
	h := d.Header()
	require.Equal(t, "server", h.Get("x-crayon-route"))
	require.Equal(t, "out-of-scope", h.Get("x-crayon-reason"))
	require.Equal(t, "0.2500", h.Get("x-crayon-scope"))
	require.Equal(t, "0.7500", h.Get("x-crayon-confidence"))
	require.Equal(t, "scope=0.5000 pool-scope=0.3000 confidence=0.4000", h.Get("x-crayon-threshold"))
	require.Empty(t, h.Get("x-crayon-degraded"))
	require.Equal(t, "server (out-of-scope; scope 0.250 < 0.500, pool-scope 0.500 >= 0.300, confidence 0.750 >= 0.400)", d.Short())
	for _, want := range []string{"0.2500", "0.5000", "0.7500", "leaves", "stays", "0.3750", "out-of-scope", " 8 "} {
		require.Contains(t, d.Explain(), want)
	}
	f := d.Fallback()
	require.Equal(t, Device, f.Route)
	require.Equal(t, "true", f.Header().Get("x-crayon-degraded"))
	require.Contains(t, f.Explain(), "degraded")
	data, err := json.Marshal(d)
	require.NoError(t, err)
	require.JSONEq(t, `{"route":"server","reason":"out-of-scope","degraded":false,"mode":"auto","triggers":["out-of-scope"],
		"signals":[{"name":"scope","value":0.25,"threshold":0.5,"fired":true},{"name":"pool-scope","value":0.5,"threshold":0.3,"fired":false},{"name":"confidence","value":0.75,"threshold":0.4,"fired":false}],
		"least_token":0.375,"tokens":8}`, string(data))
}

func TestParse(t *testing.T) {
	for _, m := range Modes() {
		got, err := ParseMode(string(m))
		require.NoError(t, err)
		require.Equal(t, m, got)
	}
	_, err := ParseMode("Auto")
	require.ErrorContains(t, err, "prefer-device")
	for in, want := range map[string]Side{"": "", "auto": "", "device": Device, "server": Server} {
		got, err := ParseForce(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = ParseForce("cloud")
	require.True(t, strings.HasPrefix(err.Error(), HeaderRoute))
}
