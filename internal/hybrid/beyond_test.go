package hybrid_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
	"crayon/internal/hybrid"
	"crayon/internal/route"
	"crayon/internal/upstream"
	"crayon/internal/upstream/fake"
)

// raw is a sink that keeps what it heard.
type raw struct {
	decisions []route.Decision
	chunks    []string
	fail      error // to be returned at the first chunk
}

func (r *raw) Decided(d route.Decision) error {
	r.decisions = append(r.decisions, d)
	return nil
}

func (r *raw) Raw(data json.RawMessage) error {
	r.chunks = append(r.chunks, string(data))
	return r.fail
}

func beyond(stream bool) hybrid.Beyond {
	return hybrid.Beyond{Body: json.RawMessage(`{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function"}]}`), Needs: []string{"tools"}, Stream: stream, Key: "k"}
}

// TestPass: the servers are asked in turn, never the device; before a failure the
// decision is heard, and nothing after it.
func TestPass(t *testing.T) {
	gone := errors.New("the client left")
	for _, stream := range []bool{false, true} {
		w := newWorld(t, auto(always, always), fake.Drop(), fake.Fail(503, 0, "down"), fake.Answer("one two"))
		second := fake.New(fake.Answer("from the second"), fake.Drop())
		t.Cleanup(second.Close)
		gate := upstream.New(upstream.Options{Ledger: w.ledger})
		t.Cleanup(gate.Close)
		var err error
		w.Servers, err = upstream.NewServers(gate, []upstream.ServerOptions{{URL: w.fake.URL, Model: "a", Retries: -1}, {URL: second.URL, Model: "b", Retries: -1, Timeout: 5 * time.Second}})
		require.NoError(t, err)
		before := w.Device.Model.Computed()

		sink := &raw{}
		a, err := w.Pass(t.Context(), beyond(stream), sink)
		require.NoError(t, err)
		require.Equal(t, []any{"from the second", "stop", "b", 7, 3}, []any{a.Text, a.Finish, a.Model, a.PromptTokens, a.CompletionTokens})
		require.Equal(t, []any{route.Server, route.BeyondDevice}, []any{a.Decision.Route, a.Decision.Reason})
		require.Len(t, sink.decisions, 1)
		require.Len(t, sink.chunks, map[bool]int{false: 1, true: 4}[stream])

		sink = &raw{}
		_, err = w.Pass(t.Context(), beyond(stream), sink)
		require.Equal(t, upstream.Dead, upstream.KindOf(err), "the last one's failure")
		require.Len(t, sink.decisions, 1)
		require.Empty(t, sink.chunks)

		sink = &raw{fail: gone}
		_, err = w.Pass(t.Context(), beyond(stream), sink)
		require.ErrorIs(t, err, gone)
		require.Len(t, sink.chunks, 1)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = w.Pass(ctx, beyond(stream), &raw{})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, before, w.Device.Model.Computed())
	}
}

// TestPassRefused: no sink hears of what may not leave, and it counts as a query.
func TestPassRefused(t *testing.T) {
	w := newWorld(t, auto(never, unset))
	share := 0.0
	budget := upstream.OpenBudget(upstream.BudgetOptions{Dir: t.TempDir(), All: upstream.Limits{Share: &share}})
	w.gated(t, upstream.Options{Budget: budget})
	for reason, change := range map[route.Reason]func(*hybrid.Beyond){
		route.Forced:     func(b *hybrid.Beyond) { b.Mode = route.DeviceOnly },
		route.Private:    func(b *hybrid.Beyond) { b.Private = true },
		route.OverBudget: func(*hybrid.Beyond) {},
	} {
		b, sink := beyond(true), &raw{}
		change(&b)
		_, err := w.Pass(t.Context(), b, sink)
		var u *route.UnreachableError
		require.ErrorAs(t, err, &u)
		require.Equal(t, reason, u.Reason)
		require.Equal(t, fault.ExitRefused, fault.Code(err))
		require.NotEmpty(t, fault.Hint(err))
		require.Empty(t, sink.decisions)
		_, err = w.ExplainBeyond(b)
		require.ErrorAs(t, err, &u)
	}
	require.Empty(t, w.fake.Calls())
	st, err := budget.Status()
	require.NoError(t, err)
	require.Equal(t, []int64{3, 0}, []int64{st.All.Queries, st.All.Sent})
}
