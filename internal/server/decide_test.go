package server

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/upstream/fake"
)

// A dry route says what a chat would be decided, asks nobody and keeps nothing.
func TestDecide(t *testing.T) {
	w := newWorld(t, nil, fake.Answer("from afar"))
	w.policy(always, 0)
	type answer struct {
		Decision struct {
			Route, Reason, Mode string
			Tokens              int
			Values              map[string]float64
		}
		Final bool
	}
	decide := func(query string, headers ...string) answer {
		r := w.post("/api/route/decide"+query, ask(base+"+mine", "why", ""), headers...)
		require.Equal(t, http.StatusOK, r.status, r.body)
		var a answer
		require.NoError(t, json.Unmarshal([]byte(r.body), &a))
		return a
	}
	a := decide("")
	require.Equal(t, []any{"server", "out-of-scope", "auto", true}, []any{a.Decision.Route, a.Decision.Reason, a.Decision.Mode, a.Final})
	require.NotZero(t, a.Decision.Tokens)
	require.Contains(t, a.Decision.Values, "mean_token")
	a = decide("?draft=0")
	require.Zero(t, a.Decision.Tokens)
	require.True(t, a.Final, "out of scope: no draft could keep it")
	require.NotContains(t, a.Decision.Values, "mean_token")
	w.policy(never, 0.5)
	require.False(t, decide("?draft=0").Final)
	require.Equal(t, "device-only", decide("", "x-crayon-route", "device-only").Decision.Mode)
	require.Empty(t, w.fake.Calls())

	require.Equal(t, http.StatusBadRequest, w.post("/api/route/decide?draft=2", ask(base, "why", "")).status)
	require.Equal(t, http.StatusBadRequest, w.post("/api/route/decide", "{}").status)
	require.Equal(t, http.StatusNotFound, w.post("/api/route/decide", ask("no", "why", "")).status)
	require.Equal(t, http.StatusMethodNotAllowed, w.send("GET", "/api/route/decide", "").status)
	require.Equal(t, http.StatusBadRequest, w.post("/api/route/decide", ask(base, "why", ""), "x-crayon-route", "cloud").status)
}

// A request's mode goes before the setting, and what was decided is counted.
func TestModeHeaderAndMetrics(t *testing.T) {
	w := newWorld(t, nil, fake.Answer("from afar"))
	for mode, side := range map[string]string{"server-only": "server", "device-only": "device", "prefer-server": "server", "prefer-device": "device", "shadow": "device"} {
		r := w.post(chatPath, ask(base+"+mine", "why", ""), "x-crayon-route", mode)
		require.Equal(t, http.StatusOK, r.status)
		require.Equal(t, side, r.header.Get("x-crayon-route"), mode)
	}
	r := w.post(chatPath, ask(base, "why", ""), "x-crayon-route", "cloud")
	require.Equal(t, http.StatusBadRequest, r.status)
	r = w.post("/v1/completions", `{"model":"`+base+`","prompt":"a"}`, "x-crayon-route", "server-only")
	require.Equal(t, http.StatusBadRequest, r.status)
	m := w.send("GET", "/metrics", "")
	require.Equal(t, http.StatusOK, m.status)
	require.Contains(t, m.header.Get("Content-Type"), "text/plain")
	require.Contains(t, m.body, `crayon_route_decisions_total{customisation="mine",route="server",reason="forced"} 1`)
	require.Contains(t, m.body, `crayon_route_decisions_total{customisation="mine",route="device",reason="shadow"} 1`)
	require.Contains(t, m.body, "# TYPE crayon_route_drift gauge")
}
