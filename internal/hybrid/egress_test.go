package hybrid_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/chat"
	"crayon/internal/fault"
	"crayon/internal/hybrid"
	"crayon/internal/route"
	"crayon/internal/upstream"
	"crayon/internal/upstream/fake"
)

// gated puts a gate of its own behind the world's device.
func (w *world) gated(t *testing.T, o upstream.Options) {
	t.Helper()
	if o.Ledger == nil {
		o.Ledger = w.ledger
	}
	gate := upstream.New(o)
	t.Cleanup(gate.Close)
	servers, err := upstream.NewServers(gate, []upstream.ServerOptions{{URL: w.fake.URL, Retries: -1, Timeout: 5 * time.Second}})
	require.NoError(t, err)
	w.Servers = servers
}

// TestPrivateStays: what is private is answered here, marked, and so is the
// rest of its conversation; a forced server is refused.
func TestPrivateStays(t *testing.T) {
	const card = "my card is 4111 1111 1111 1111"
	for _, c := range []struct {
		name string
		set  func(*world, *hybrid.Query)
		says string
	}{
		{"a finding", func(_ *world, q *hybrid.Query) { q.Messages[0].Content = card }, "card"},
		{"in the context", func(_ *world, q *hybrid.Query) { q.Context = card }, "card"},
		{"in an earlier turn", func(_ *world, q *hybrid.Query) {
			q.Messages = append([]chat.Message{{Role: "user", Content: card}, {Role: "assistant", Content: "noted"}}, q.Messages...)
		}, "card"},
		{"tagged", func(_ *world, q *hybrid.Query) { q.Private = true }, "tagged"},
		{"a tagged customisation", func(w *world, _ *hybrid.Query) { w.Policy.Private = []string{"mine"} }, "tagged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, auto(always, unset))
			q := ask(w.plain, "why does the wheel wobble")
			q.Conversation = "conversation-1"
			c.set(w, &q)
			a, err := w.Answer(t.Context(), q, &heard{})
			require.NoError(t, err)
			require.Equal(t, []any{route.Device, route.Private, true}, []any{a.Decision.Route, a.Decision.Reason, a.Decision.Degraded})
			require.Contains(t, a.Decision.Cause, c.says)
			require.NotContains(t, a.Decision.Cause, "4111")
			entries, err := w.ledger.Entries(time.Time{})
			require.NoError(t, err)
			require.Len(t, entries, 1)
			require.True(t, entries[0].Refused())
			require.Contains(t, entries[0].Error, c.says)

			// The next turn, whose history the client forgot.
			w.Policy.Private = nil
			next := ask(w.plain, "and why is the sky blue")
			next.Conversation = "conversation-1"
			a, err = w.Answer(t.Context(), next, &heard{})
			require.NoError(t, err)
			require.Equal(t, route.Private, a.Decision.Reason)
			require.Empty(t, w.fake.Calls())
			next.Force = route.Server
			_, err = w.Answer(t.Context(), next, &heard{})
			var u *route.UnreachableError
			require.ErrorAs(t, err, &u)
			require.Equal(t, route.Private, u.Reason)
			require.Equal(t, fault.ExitRefused, fault.Code(err))

			// Another conversation may leave.
			next.Conversation = "conversation-2"
			a, err = w.Answer(t.Context(), next, &heard{})
			require.NoError(t, err)
			require.Equal(t, route.Server, a.Decision.Route)
		})
	}
}

// TestPrivateStaysThoughTheDeviceAnswered: a turn that never wanted to leave
// taints its conversation too.
func TestPrivateStaysThoughTheDeviceAnswered(t *testing.T) {
	w := newWorld(t, auto(never, unset))
	q := ask(w.plain, "mail jane.doe@example.org")
	q.Conversation = "c"
	a, err := w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	require.Equal(t, []any{route.InScope, false}, []any{a.Decision.Reason, a.Decision.Degraded})
	w.Policy.ScopeUser = always
	q = ask(w.plain, "why")
	q.Conversation = "c"
	a, err = w.Answer(t.Context(), q, &heard{})
	require.NoError(t, err)
	require.Equal(t, route.Private, a.Decision.Reason)
}

// TestOverBudget: the declared thing happens: the device, marked, or a refusal.
func TestOverBudget(t *testing.T) {
	one := int64(1)
	for _, refuse := range []bool{false, true} {
		w := newWorld(t, auto(always, unset), fake.Answer("from the large one"))
		w.gated(t, upstream.Options{Budget: upstream.OpenBudget(upstream.BudgetOptions{Dir: t.TempDir(), All: upstream.Limits{Calls: &one}})})
		if refuse {
			w.Policy.OverBudget = hybrid.OverBudgetRefuse
		}
		q := ask(w.plain, "why does the wheel wobble")
		a, err := w.Answer(t.Context(), q, &heard{})
		require.NoError(t, err)
		require.Equal(t, "from the large one", a.Text)
		sink := &heard{}
		a, err = w.Answer(t.Context(), q, sink)
		if refuse {
			var over *upstream.OverBudget
			require.ErrorAs(t, err, &over)
			require.Equal(t, fault.ExitRefused, fault.Code(err))
			require.Empty(t, sink.decisions)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, []any{route.Device, route.OverBudget, true}, []any{a.Decision.Route, a.Decision.Reason, a.Decision.Degraded})
		require.Contains(t, a.Decision.Cause, "1 of 1")
		require.Len(t, w.fake.Calls(), 1)
		q.Force = route.Server
		_, err = w.Answer(t.Context(), q, &heard{})
		require.Equal(t, fault.ExitRefused, fault.Code(err))
	}
}

// TestShareOfQueries: those that the device answers count too.
func TestShareOfQueries(t *testing.T) {
	w := newWorld(t, auto(always, unset), fake.Answer("large"))
	share := 0.5
	budget := upstream.OpenBudget(upstream.BudgetOptions{Dir: t.TempDir(), All: upstream.Limits{Share: &share}})
	w.gated(t, upstream.Options{Budget: budget})
	q := ask(w.labels, "why does the wheel wobble")
	q.Key = "local"
	left := 0
	for i := range 6 {
		a, err := w.Answer(t.Context(), q, &heard{})
		require.NoError(t, err)
		if a.Decision.Route == route.Server {
			left++
		}
		require.Equal(t, (i+1)/2, left)
	}
	st, err := budget.Status()
	require.NoError(t, err)
	require.Equal(t, 0.5, st.Keys["local"].Share)
	// Asking why counts nothing.
	_, err = w.Explain(t.Context(), q)
	require.NoError(t, err)
	st, err = budget.Status()
	require.NoError(t, err)
	require.Equal(t, int64(6), st.All.Queries)
}

// TestUnwritableLedger: nothing leaves, and the device answers, saying why.
func TestUnwritableLedger(t *testing.T) {
	w := newWorld(t, auto(always, unset))
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	w.gated(t, upstream.Options{Ledger: upstream.LedgerAt(filepath.Join(file, "ledger.jsonl"))})
	a, err := w.Answer(t.Context(), ask(w.plain, "why does the wheel wobble"), &heard{})
	require.NoError(t, err)
	require.Equal(t, []any{route.Device, route.ServerFailed, true}, []any{a.Decision.Route, a.Decision.Reason, a.Decision.Degraded})
	require.Contains(t, a.Decision.Cause, "use ledger")
	require.Empty(t, w.fake.Calls())
}

// TestCauseOfAFailure is told.
func TestCauseOfAFailure(t *testing.T) {
	w := newWorld(t, auto(always, unset), fake.Fail(500, 0, "the model is on fire"))
	a, err := w.Answer(t.Context(), ask(w.plain, "why does the wheel wobble"), &heard{})
	require.NoError(t, err)
	require.Contains(t, a.Decision.Cause, "the model is on fire")
	require.Contains(t, a.Decision.Short(), "the model is on fire")
}
