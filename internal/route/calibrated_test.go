package route

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/route/calibrate"
	"crayon/internal/route/signal"
)

// byHand is a calibration whose device is right the more probably the larger
// scope and mean_token are; a query leaves where the server is more probably
// right by more than the threshold.
func byHand(threshold float64) *calibrate.Calibration {
	m := &calibrate.Model{Curve: calibrate.Curve{A: 1}, Logistic: &calibrate.Logistic{Terms: []calibrate.Term{
		{Signal: "scope", Mean: 0.3, Deviation: 0.1, Weight: 1},
		{Signal: "mean_token", Mean: 0.6, Deviation: 0.2, Weight: 0.7},
	}}}
	return &calibrate.Calibration{Version: calibrate.Version, Device: m, Assumed: 0.6, Rule: calibrate.Rule{Promise: calibrate.Share, Target: 0.3, Threshold: threshold, FitRows: 60, CheckRows: 40}}
}

func valued(scope, token float64) Signals {
	s := signals(float32(scope), float32(scope), float32(token))
	s.Values = signal.None()
	s.Values[signal.Place("scope")], s.Values[signal.Place("mean_token")] = scope, token
	return s
}

func TestCalibratedDecision(t *testing.T) {
	set := Setting{HasServer: true, Calibration: byHand(0), Calibrated: CalibratedOwn}
	for _, c := range []struct {
		name         string
		scope, token float64
		route        Side
		reason       Reason
		triggers     int
	}{
		{"near and sure", 0.5, 0.9, Device, InScope, 0},
		{"far", 0, 0.7, Server, OutOfScope, 1},
		{"unsure", 0.32, 0.1, Server, LowConfidence, 1},
		{"far and unsure, mostly far", 0, 0.4, Server, OutOfScope, 2},
		{"far and unsure, mostly unsure", 0.28, 0.1, Server, LowConfidence, 2},
		{"far, but very sure", 0.25, 1, Device, InScope, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Decide(valued(c.scope, c.token), Off(), set)
			require.NoError(t, err)
			require.Equal(t, c.route, d.Route)
			require.Equal(t, c.reason, d.Reason)
			require.Len(t, d.Triggers, c.triggers)
			text := d.Explain()
			for _, want := range []string{"scope", "mean_token", "gain", "leaves above", "rule: 30 % go to the server", "out of scope:", "low confidence:", "on 60 rows, checked on 40 others", "samples_agree", "costs a draft of 32 tokens"} {
				require.Contains(t, text, want)
			}
			require.Contains(t, d.Short(), "gain")
			require.NotEmpty(t, d.Header().Get(HeaderGain))
			data, err := json.Marshal(d)
			require.NoError(t, err)
			require.Contains(t, string(data), `"estimate":{"device":`)
		})
	}
	// Thresholds set by name still send what falls below them.
	d, err := Decide(valued(0.5, 0.9), Thresholds{ScopeUser: 0.6, ScopePool: -1, Confidence: -1}, set)
	require.NoError(t, err)
	require.Equal(t, []any{Server, OutOfScope}, []any{d.Route, d.Reason})
	// Nothing measured: the calibration has nothing to go by.
	d, err = Decide(Unmeasured(), Off(), set)
	require.NoError(t, err)
	require.Nil(t, d.Estimate)
	require.Equal(t, NoSignal, d.Reason)
	// Shadow: what the signals say is told, and the device answers.
	set.Mode = Shadow
	d, err = Decide(valued(0, 0.1), Off(), set)
	require.NoError(t, err)
	require.Equal(t, []any{Device, Shadowed, false}, []any{d.Route, d.Reason, d.Degraded})
	require.True(t, d.Estimate.Send)
}

func TestStaleIsTold(t *testing.T) {
	d, err := Decide(valued(0.5, 0.9), limits, Setting{HasServer: true, Stale: []string{"the model", "the data"}})
	require.NoError(t, err)
	require.Contains(t, d.Explain(), "stale: the model, the data changed since")
	require.Nil(t, d.Estimate)
}

func TestLookedAt(t *testing.T) {
	s := valued(0.5, 0.9)
	say := func() string {
		d, err := Decide(s, limits, Setting{HasServer: true})
		require.NoError(t, err)
		return d.Explain()
	}
	require.Contains(t, say(), "begins the conversation")
	s.Turns = 4
	require.Contains(t, say(), "of the 4 messages before it")
	s.Earlier = 2
	require.Contains(t, say(), "the last 2 of the user before it; 4 messages")
}

// Decisions by a calibration are deterministic and monotone in its threshold; one
// that leaves before the draft leaves whatever the draft says, and it never
// leaves where nothing may.
func TestCalibratedProperties(t *testing.T) {
	x := rapid.OneOf(rapid.Float64Range(-1, 1), rapid.Just(math.NaN()))
	rapid.Check(t, func(t *rapid.T) {
		s, th := valued(x.Draw(t, "scope"), x.Draw(t, "token")), genThresholds().Draw(t, "th")
		set := genSetting().Draw(t, "set")
		a, b := rapid.Float64Range(-2, 2).Draw(t, "a"), rapid.Float64Range(-2, 2).Draw(t, "b")
		set.Calibration = byHand(min(a, b))
		d, err := Decide(s, th, set)
		if err != nil {
			return
		}
		again, err := Decide(s, th, set)
		require.NoError(t, err)
		one, err := json.Marshal(d)
		require.NoError(t, err)
		other, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(one), string(other))
		require.True(t, d.Estimate.Device >= 0 && d.Estimate.Device <= 1)
		if set.LocalOnly || !set.HasServer {
			require.Equal(t, Device, d.Route)
		}
		early, final, err := DecideBeforeDraft(s, th, set)
		require.NoError(t, err)
		if final {
			require.Equal(t, d.Route, early.Route)
		}
		set.Calibration = byHand(max(a, b))
		dearer, err := Decide(s, th, set)
		require.NoError(t, err)
		if d.Route == Device {
			require.Equal(t, Device, dearer.Route)
		}
		require.NotContains(t, d.Explain()+d.Short(), "NaN")
	})
}

func TestModes(t *testing.T) {
	for in, want := range map[string]Mode{"device": DeviceOnly, "server": ServerOnly, "device-only": DeviceOnly, "shadow": Shadow, "auto": Auto} {
		m, err := ParseMode(in)
		require.NoError(t, err)
		require.Equal(t, want, m)
	}
	for in, want := range map[string]struct {
		side Side
		mode Mode
	}{"": {}, "auto": {}, "device": {side: Device}, "server": {side: Server}, "prefer-device": {mode: PreferDevice}, "server-only": {mode: ServerOnly}, "shadow": {mode: Shadow}} {
		side, mode, err := ParseRequest(in)
		require.NoError(t, err)
		require.Equal(t, want.side, side)
		require.Equal(t, want.mode, mode)
	}
	_, _, err := ParseRequest("cloud")
	require.ErrorContains(t, err, "prefer-device")
	// A mode's shorter name decides as the longer one, also where it was not parsed.
	d, err := Decide(valued(0, 0), limits, Setting{Mode: "device", HasServer: true})
	require.NoError(t, err)
	require.Equal(t, []any{Device, Forced, DeviceOnly}, []any{d.Route, d.Reason, d.Mode})
}
