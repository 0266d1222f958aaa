package server

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
	"crayon/internal/hybrid"
	"crayon/internal/route"
	"crayon/internal/upstream"
	"crayon/internal/upstream/fake"
)

// behind puts the world's server LLM behind a gate with a budget, and gives the
// server its ledger.
func behind(t *testing.T, w *world, limits upstream.Limits) {
	t.Helper()
	ledger := upstream.LedgerAt(filepath.Join(t.TempDir(), "ledger.jsonl"))
	budget := upstream.OpenBudget(upstream.BudgetOptions{Dir: t.TempDir(), All: limits})
	gate := upstream.New(upstream.Options{Ledger: ledger, Budget: budget})
	t.Cleanup(gate.Close)
	servers, err := upstream.NewServers(gate, []upstream.ServerOptions{{URL: w.fake.URL, Key: "sk-upstream-secret", Model: fake.Model, Retries: -1, Price: &upstream.Price{In: 1, Out: 2}}})
	require.NoError(t, err)
	w.hybrid.Servers = servers
	w.server.opt.Ledger, w.server.opt.Budget = ledger, budget
	w.policy(always, never)
}

func TestLedgerOverHTTP(t *testing.T) {
	w := newWorld(t, nil, fake.Answer("from the large one"))
	two := int64(2)
	behind(t, w, upstream.Limits{Calls: &two})
	for range 3 {
		require.Equal(t, http.StatusOK, w.post(chatPath, ask(base+"+mine", "why", "")).status)
	}
	r := w.send("GET", "/api/ledger", "")
	require.Equal(t, http.StatusOK, r.status, r.body)
	var got struct {
		Total   int
		Data    []map[string]any
		Budget  upstream.BudgetStatus
		Servers []upstream.ServerHealth
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &got))
	require.Equal(t, 3, got.Total)
	require.Equal(t, []any{"refused", "over-budget", nil}, []any{got.Data[2]["state"], got.Data[2]["why"], got.Data[2]["out"]})
	e := got.Data[0]
	require.Equal(t, []any{"ended", "chat", "serve", "out-of-scope", 7.0, 4.0, "usage"}, []any{e["state"], e["purpose"], e["key"], e["why"], e["prompt_tokens"], e["completion_tokens"], e["counted"]})
	require.InDelta(t, 15e-6, e["cost"], 1e-9)
	require.Len(t, e["out_sha256"], 64)
	require.Equal(t, int64(3), got.Budget.Keys["serve"].Queries)
	require.Equal(t, int64(0), *got.Budget.All.LeftCalls)
	require.Equal(t, upstream.Healthy, got.Servers[0].Health)
	require.NotContains(t, r.body, "sk-upstream-secret")
	for _, bad := range []string{"since=yesterday", "last=0", "last=many"} {
		require.Equal(t, http.StatusBadRequest, w.send("GET", "/api/ledger?"+bad, "").status)
	}
	require.Contains(t, w.send("GET", "/api/ledger?last=1", "").body, `"total":3`)
	require.Contains(t, w.send("GET", "/api/ledger?server=elsewhere", "").body, `"data":[]`)
	require.Contains(t, w.send("GET", "/api/ledger?since=2090-01-01T00:00:00Z", "").body, `"data":[]`)
}

func TestLedgerNeedsTheKey(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Key = "k" })
	require.Equal(t, http.StatusUnauthorized, w.send("GET", "/api/ledger", "").status)
	r := w.send("GET", "/api/ledger", "", "Authorization", "Bearer k")
	require.Equal(t, http.StatusOK, r.status, r.body)
}

// TestClientsByKey: each client's calls are its own in budget and ledger, and
// keys are told by nobody.
func TestClientsByKey(t *testing.T) {
	const alice, bob = "key-of-alice", "key-of-bob"
	w := newWorld(t, func(o *Options) { o.Key, o.Keys = "key-of-all", map[string]string{"alice": alice, "bob": bob} }, fake.Answer("large"))
	one := int64(1)
	behind(t, w, upstream.Limits{})
	budget := upstream.OpenBudget(upstream.BudgetOptions{Dir: t.TempDir(), EachKey: upstream.Limits{Calls: &one}})
	ledger := upstream.LedgerAt(filepath.Join(t.TempDir(), "ledger.jsonl"))
	gate := upstream.New(upstream.Options{Ledger: ledger, Budget: budget})
	t.Cleanup(gate.Close)
	var err error
	w.hybrid.Servers, err = upstream.NewServers(gate, []upstream.ServerOptions{{URL: w.fake.URL, Model: "m"}})
	require.NoError(t, err)
	for _, key := range []string{alice, bob, "key-of-all"} {
		for i, want := range []string{"out-of-scope", "over-budget"} {
			r := w.post(chatPath, ask(base+"+mine", "why", ""), "Authorization", "Bearer "+key)
			require.Equal(t, []any{http.StatusOK, want}, []any{r.status, r.header.Get(route.HeaderReason)}, i)
		}
	}
	require.Equal(t, http.StatusUnauthorized, w.post(chatPath, ask(base, "why", ""), "Authorization", "Bearer key-of-mallory").status)
	require.Equal(t, http.StatusUnauthorized, w.post(chatPath, ask(base, "why", ""), "Authorization", "Basic "+alice).status)
	entries, err := ledger.Entries(time.Time{})
	require.NoError(t, err)
	var left []string
	for _, e := range entries {
		if !e.Refused() {
			left = append(left, e.Key)
		}
	}
	require.Equal(t, []string{"alice", "bob", "serve"}, left)
	require.NotContains(t, w.log.String(), "key-of")
	for _, bad := range []map[string]string{{"a": "x y"}, {"a": ""}, {"a": "k", "b": "k"}} {
		o := w.server.opt
		o.Keys = bad
		_, err := New(o)
		require.Equal(t, fault.ExitUsage, fault.Code(err))
	}
}

// TestOverBudgetOverHTTP: the device answers, or 429.
func TestOverBudgetOverHTTP(t *testing.T) {
	w := newWorld(t, nil)
	none := int64(0)
	behind(t, w, upstream.Limits{Calls: &none})
	r := w.post(chatPath, ask(base+"+mine", "why", ""))
	require.Equal(t, []any{http.StatusOK, "device", "over-budget", "true"}, []any{r.status, r.header.Get(route.HeaderRoute), r.header.Get(route.HeaderReason), r.header.Get(route.HeaderDegraded)})
	w.hybrid.Policy.OverBudget = hybrid.OverBudgetRefuse
	r = w.post(chatPath, ask(base+"+mine", "why", ""))
	require.Equal(t, http.StatusTooManyRequests, r.status)
	_, kind, _, code := r.error(t)
	require.Equal(t, []string{"insufficient_quota", "over-budget"}, []string{kind, code})
	r = w.post(chatPath, ask(base+"+mine", "why", `,"stream":true`))
	require.Equal(t, http.StatusTooManyRequests, r.status)
	r = w.post(chatPath, ask(base+"+mine", "why", ""), route.HeaderRoute, "server")
	require.Equal(t, http.StatusTooManyRequests, r.status)
	require.Empty(t, w.fake.Calls())
}

// TestPrivateOverHTTP: the header, the field, and the conversation's id.
func TestPrivateOverHTTP(t *testing.T) {
	w := newWorld(t, nil, fake.Answer("large"))
	behind(t, w, upstream.Limits{})
	model := base + "+mine"
	reason := func(r response) string {
		t.Helper()
		require.Equal(t, http.StatusOK, r.status, r.body)
		return r.header.Get(route.HeaderReason)
	}
	require.Equal(t, "private", reason(w.post(chatPath, ask(model, "why", ""), headerPrivate, "true", headerConversation, "a")))
	require.Equal(t, "private", reason(w.post(chatPath, ask(model, "how", ""), headerConversation, "a")))
	require.Equal(t, "private", reason(w.post(chatPath, ask(model, "why", `,"private":true`))))
	require.Equal(t, "private", reason(w.post(chatPath, ask(model, "my card is 4111 1111 1111 1111", `,"conversation":"b"`))))
	require.Equal(t, "private", reason(w.post(chatPath, ask(model, "how", `,"conversation":"b"`))))
	require.Equal(t, "private", reason(w.post(chatPath, `{"model":"`+model+`","max_tokens":9,"messages":[{"role":"user","content":"mail a.b@example.org"},{"role":"assistant","content":"ok"},{"role":"user","content":"why"}]}`)))
	require.Empty(t, w.fake.Calls())
	require.Equal(t, http.StatusForbidden, w.post(chatPath, ask(model, "how", `,"conversation":"b"`), route.HeaderRoute, "server").status)
	require.Equal(t, http.StatusBadRequest, w.post(chatPath, ask(model, "how", ""), headerPrivate, "yes please").status)
	require.Equal(t, "out-of-scope", reason(w.post(chatPath, ask(model, "how", `,"private":false,"conversation":"c"`), headerPrivate, "false")))
	require.Len(t, w.fake.Calls(), 1)
	require.NotContains(t, w.log.String(), "4111")
}
