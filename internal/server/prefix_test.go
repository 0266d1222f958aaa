package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/device"
	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
)

// cachedWorld is a world whose device has a prefix cache.
func cachedWorld(t *testing.T) (*world, *device.Device) {
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	d, err := device.Open(t.Context(), modelPath, p, device.Options{Threads: 2, PrefixCache: 4 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return newWorld(t, func(o *Options) { o.Hybrid.Device = d }), d
}

const longQuestion = "the brake of my bicycle squeals whenever it rains and the road goes down"

// TestCachedTokens: usage says what was not computed again, the answers stay
// what they are without a cache, and customisations share nothing, be it under
// one name with the same text.
func TestCachedTokens(t *testing.T) {
	w, d := cachedWorld(t)
	plain := newWorld(t, nil)
	for _, x := range []*world{w, plain} {
		x.put("twin") // the content of desk
		x.putOf("mine", 6)
	}
	ask := func(w *world, model string) (string, usage) {
		t.Helper()
		r := w.post(chatPath, ask(model, longQuestion, ""))
		require.Equal(t, http.StatusOK, r.status, r.body)
		var c chatObject
		require.NoError(t, json.Unmarshal([]byte(r.body), &c))
		require.Equal(t, c.Usage.Prompt+c.Usage.Completion, c.Usage.Total)
		return *c.Choices[0].Message.Content, *c.Usage
	}
	for _, model := range []string{"tiny", "tiny+mine", "tiny+desk"} {
		want, without := ask(plain, model)
		require.Zero(t, without.Details.Cached)
		first, used := ask(w, model)
		require.Equal(t, want, first, model)
		require.Zero(t, used.Details.Cached, model)
		again, used := ask(w, model)
		require.Equal(t, want, again, model)
		require.Equal(t, (used.Prompt-1)/32*32, used.Details.Cached, model)
	}
	// The same name, the same text, another content.
	for _, x := range []*world{w, plain} {
		x.putOf("mine", 4)
	}
	want, _ := ask(plain, "tiny+mine")
	got, used := ask(w, "tiny+mine")
	require.Equal(t, want, got)
	require.Zero(t, used.Details.Cached)
	// Another name, the same content.
	want, _ = ask(plain, "tiny+twin")
	got, used = ask(w, "tiny+twin")
	require.Equal(t, want, got)
	require.Positive(t, used.Details.Cached)
	require.Positive(t, d.Stats().Prefix.Hits)

	r := w.post("/v1/completions", `{"model":"tiny","max_tokens":2,"prompt":["`+longQuestion+`","`+longQuestion+`"]}`)
	var c completionObject
	require.NoError(t, json.Unmarshal([]byte(r.body), &c))
	require.Equal(t, (c.Usage.Prompt/2-1)/32*32, c.Usage.Details.Cached)
	require.Contains(t, r.body, `"prompt_tokens_details":{"cached_tokens":`)
	require.Equal(t, c.Choices[0].Text, c.Choices[1].Text)
}

// TestDroppedCustomisationsLeaveNothing: what was computed under a customisation
// that was replaced or removed is freed at the next request, whoever asks.
func TestDroppedCustomisationsLeaveNothing(t *testing.T) {
	w, d := cachedWorld(t)
	held := func(model string) int {
		t.Helper()
		require.Equal(t, http.StatusOK, w.post(chatPath, ask(model, longQuestion, "")).status)
		return d.Stats().Prefix.Bytes
	}
	base := held("tiny")
	require.Equal(t, base, held("tiny"))
	mine := held("tiny+mine")
	require.Greater(t, mine, base)
	w.putOf("mine", 6)
	replaced := held("tiny+mine")
	require.InDelta(t, mine, replaced, float64(mine-base)/2, "the old one is gone")
	require.NoError(t, w.shelf.Remove("mine"))
	require.Equal(t, base, held("tiny"))
}

// TestAnswersUnderLoad: many clients at once, some of whom leave, get what each
// would have got alone.
func TestAnswersUnderLoad(t *testing.T) {
	w, d := cachedWorld(t)
	plain := newWorld(t, nil)
	models := []string{"tiny", "tiny+mine", "tiny+desk"}
	body := func(i int) string {
		return ask(models[i%len(models)], strings.Repeat("why ", i%5)+longQuestion, `,"temperature":1,"seed":`+string(rune('0'+i%10)))
	}
	const clients = 12
	want := make([]string, clients)
	for i := range want {
		want[i] = content0(t, plain.post(chatPath, body(i)))
	}
	got := make([]string, clients)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() { got[i] = content0(t, w.post(chatPath, body(i))) })
		all.Go(func() { // one who hangs up
			req, err := http.NewRequestWithContext(t.Context(), "POST", w.http.URL+chatPath, strings.NewReader(strings.Replace(body(i), `,"temp`, `,"stream":true,"temp`, 1)))
			require.NoError(t, err)
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			res.Body.Close()
		})
	}
	all.Wait()
	require.True(t, slices.Equal(want, got), "%q; alone %q", got, want)
	s := d.Stats()
	t.Logf("%.2f turns a pass", float64(s.Turns)/float64(s.Passes))
}
