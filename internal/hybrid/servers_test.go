package hybrid_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/route"
	"crayon/internal/upstream"
	"crayon/internal/upstream/fake"
)

// TestServersInTurn: the first choice answers, else the next, else the device;
// each try is in the ledger, and no server sees another's key.
func TestServersInTurn(t *testing.T) {
	const keyA, keyB = "key-of-the-first", "key-of-the-second"
	for _, c := range []struct {
		name          string
		first, second fake.Step
		force         route.Side
		says          string // "" the device's own words
		tries         int
		fails         bool
	}{
		{name: "both live", first: fake.Answer("first"), second: fake.Answer("second"), says: "first", tries: 1},
		{name: "dead, live", first: fake.Drop(), second: fake.Answer("second"), says: "second", tries: 2},
		{name: "failing, live, forced", first: fake.Fail(500, 0, "no"), second: fake.Answer("second"), force: route.Server, says: "second", tries: 2},
		{name: "both dead", first: fake.Drop(), second: fake.Fail(401, 0, "no"), tries: 2},
		{name: "both dead, forced", first: fake.Drop(), second: fake.Fail(503, 0, "no"), force: route.Server, tries: 2, fails: true},
		{name: "cut after its first byte", first: fake.Cut("one two three", 1), second: fake.Answer("second"), tries: 1, fails: true, says: "one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, auto(always, unset))
			gate := upstream.New(upstream.Options{Ledger: w.ledger})
			defer gate.Close()
			first, second := fake.New(c.first), fake.New(c.second)
			defer first.Close()
			defer second.Close()
			var err error
			w.Servers, err = upstream.NewServers(gate, []upstream.ServerOptions{
				{URL: first.URL, Key: keyA, Model: "ma", Retries: -1, Timeout: 5 * time.Second},
				{URL: second.URL, Key: keyB, Model: "mb", Retries: -1, Timeout: 5 * time.Second},
			})
			require.NoError(t, err)
			q := ask(w.plain, "why does the wheel wobble")
			q.Force = c.force
			sink := &heard{}
			a, err := w.Answer(t.Context(), q, sink)

			entries, lerr := w.ledger.Entries(time.Time{})
			require.NoError(t, lerr)
			require.Len(t, entries, c.tries)
			for server, own := range map[*fake.Server][2]string{first: {"Bearer " + keyA, "ma"}, second: {"Bearer " + keyB, "mb"}} {
				for _, call := range server.Calls() {
					require.Equal(t, own[0], call.Header.Get("Authorization"))
					require.Equal(t, own[1], call.Body.Model)
				}
			}
			switch {
			case c.fails && c.says == "":
				require.Empty(t, sink.decisions)
				require.Equal(t, upstream.Overloaded, upstream.KindOf(err), "the last one's failure")
				require.ErrorContains(t, err, first.URL+" (dead), then "+second.URL+" (server-error)")
				require.NotContains(t, err.Error(), keyA)
			case c.fails:
				require.Equal(t, c.says, sink.text.String())
				require.Equal(t, upstream.Cut, upstream.KindOf(err))
			case c.says == "":
				require.NoError(t, err)
				require.Equal(t, []any{route.Device, route.ServerFailed, true}, []any{a.Decision.Route, a.Decision.Reason, a.Decision.Degraded})
			default:
				require.NoError(t, err)
				require.Len(t, sink.decisions, 1)
				require.Equal(t, []any{c.says, route.Server, false}, []any{a.Text, a.Decision.Route, a.Decision.Degraded})
			}
		})
	}
}
